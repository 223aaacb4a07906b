"""How each kind of process is started.

A server's module has the same few functions, which `process.Process` names: `command` (its command line),
`prepare` (what must be there before) and, where its environment matters, `environment`.

| module | what it starts |
|---|---|
| `postgres_server`, `redis_server`, `kafka_server` | the stores and the log |
| `kafka_jars` | not a server: fetches Kafka by the list in `kafka.lock` |
| `envoy_server` | the edge |
| `services` | Marquee's own processes |
| `probes` | is it ready? |
| `process` | the shape of an entry in the table of processes |
"""
