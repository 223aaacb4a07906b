"""rating_svc: takes ratings, keeps them, and tells the others what changed.

Three roles, each a process of its own: `serve` answers RPCs and writes into the
log, `worker` brings the log into PostgreSQL, `relay` hands changes to the topic
that ranking_svc reads.

| module | what it does | may use |
|---|---|---|
| **the ground** | | – |
| `config`, `metrics` | settings; what is measured | |
| `submissions` | a rating on its way: its parts, its place, its form in the log | |
| `registry` | which topics are the log, and their epochs | |
| `slots`, `slot_rows`, `shards` | which database has which users; the SQL of that; the databases | |
| **the log** | | the ground |
| `topics`, `generations`, `growth` | its topics; that they are there; more partitions | |
| `lives` | epochs, as the database knows them | |
| `dead_letters`, `dlq`, `waiting` | their headers; what operators do with them; how many wait | |
| **the tables** | | those above |
| `collapse` | what a batch comes to, a rating's steps in order | |
| `store` | all SQL | |
| `totals`, `settled` | counts for ranking_svc; how far the log is stored | |
| **pending writes** | | those above |
| `cache`, `pending_scripts`, `merge` | in Redis and memory; steps of Redis; laid over the rows | |
| **serve** | | those above |
| `movies` | whether a movie exists | |
| `submission_log`, `writer` | into the log; into the log and the pending writes | |
| `resources`, `bulk`, `service` | ratings as the API shows them; many at once; the handlers | |
| **worker**, **relay** | | the log, the tables, `cache` |
| `worker`, `changes` | the log into the tables; what the outbox's rows are to the others | |
| **operators**, and before any role | | the log, the tables |
| `reshard`, `slot_copies` | users move to other databases; their rows | |
| `preparing` | schemas, topics and lives, before a process works | |

`__main__` puts the roles together.
"""
