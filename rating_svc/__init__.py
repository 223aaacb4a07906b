"""rating_svc: takes ratings, keeps them, and tells the others what changed.

Three roles, each a process of its own: `serve` answers RPCs and writes into the
log, `worker` brings the log into PostgreSQL, `relay` hands changes to the topic
that ranking_svc reads.

| module | what it is about |
|---|---|
| `service`, `bulk`, `resources` | serve: the RPCs, many ratings at once, ratings as the API shows them |
| `writer`, `submission_log` | serve: into the log, then visible to its author |
| `merge`, `cache`, `settled` | serve: rows with pending writes over them, and until when those count |
| `movies` | serve: does the movie exist? |
| `totals` | serve: the recount for `marquee verify` |
| `worker`, `collapse` | worker: a batch, and what it comes to |
| `relay` | relay: the outbox to the topic of changes |
| `submissions` | a submission, as it stands in the log |
| `topics`, `generations`, `growth`, `registry`, `lives` | the log: its topics, how it grows, its epochs |
| `dead_letters`, `dlq` | what could not be processed, and the operator's tool |
| `store` | the SQL |
| `config`, `metrics`, `waiting` | settings, metrics, and the measuring of what waits |
"""
