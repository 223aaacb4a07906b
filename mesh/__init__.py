"""The chassis: what every Marquee service stands on. It knows no service, but the table of them.

| module | what it is about |
|---|---|
| `server`, `rpc`, `health`, `http_page` | a process: how it starts, answers, tells its health, and drains |
| `services` | the table of services: their processes, what these need, and who calls whom |
| `config` | settings from the environment |
| `errors`, `identity`, `names`, `pages`, `texts` | what RPCs share: errors, callers, names, page tokens |
| `rules` | what requests may hold, as the contract says |
| `channel`, `tls` | calls to other services, and the certificates of both sides |
| `logs`, `metrics`, `tracing`, `vitals` | what a process tells of itself |
| `postgres`, `lag`, `hedge`, `dial` | PostgreSQL: which server is asked |
| `migrations`, `sessions`, `turns`, `pruning` | PostgreSQL: schemas, bounds, locks, old rows |
| `transactions` | PostgreSQL: how long transactions have been open |
| `redisdb`, `pipe`, `pause` | Redis, and how it is left alone after a failure |
| `kafka` | the log; it has a map of its own |
| `clock`, `backoff`, `tasks` | time, waiting, background tasks |
| `tables`, `wire` | lines of files, and bytes of messages |
"""
