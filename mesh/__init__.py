"""The chassis: what every service of Marquee stands on. Of services it knows the table in `services` only.

A module may use those of the floors above it in this table; within a floor, some use their neighbours.

| module | what it does |
|---|---|
| **the ground** | |
| `config`, `services` | settings from the environment; the table of services |
| `environment`, `flag_source` | what a mesh is for; where feature flags come from |
| `clock`, `errors`, `metrics` | the one clock; errors as the API tells them; groups of metrics |
| `backoff`, `pause` | how long to wait before something is tried again, or asked again |
| `tasks`, `single_flight` | tasks that are sure to end; one task for all who want the same |
| `together` | what is asked for at the same time is asked for together |
| `wire`, `tables`, `http_page`, `sessions` | protobuf's bytes; CSV files; a page; PostgreSQL's limits |
| **words and callers** | |
| `rules`, `names` | what requests may hold, as the contract says; resource names |
| `texts`, `pages` | texts that are compared; page tokens |
| `tls`, `identity`, `logs`, `tracing`, `spans` | certificates; who calls; what is told of a call |
| `log_levels`, `log_repeats`, `span_log` | levels that change; repeated lines; a line for each call |
| **stores** | |
| `provision` | who may reach what in the stores |
| `dial`, `lag`, `kept`, `postgres` | PostgreSQL by several hosts, with replicas that are fresh enough |
| `hedge`, `transactions` | reads that wait for no replica that hangs; how old transactions are |
| `migrations`, `turns`, `pruning` | schemas; one process at a time; rows that are too old |
| `redisdb`, `redis_link`, `pipe` | Redis; the commands of many callers together |
| `kafka` | topics, producers, readers whose offsets lie with the data, dead letters |
| `outbox` | what was committed, handed to Kafka |
| **a process** | |
| `rpc`, `channel` | the boundary around handlers; calls of other services |
| `health`, `vitals`, `server` | what still works; what the process uses; serving, and the drain |
| `switches` | optional parts that operators turn off while everything runs |
| `program` | a service's processes and commands, from their command line |
"""
