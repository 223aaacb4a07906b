"""The shape of production on one machine: `marquee up --cluster`.

| module | what it starts |
|---|---|
| `etcd` | three etcd, in which Patroni keeps who leads |
| `patroni` | three PostgreSQL servers, of which Patroni makes one the primary |
| `proxy` | two Envoys before them, which ask Patroni who is the primary |
| `probes` | is it ready, and which role does it have? |

Kafka's brokers and Redis' servers are those of a plain stack, only more of them:
`local.servers.kafka_server`, `local.servers.redis_server`. How many there are
of each stands in `local.supervision.stores`.
"""

from local.cluster.etcd import kept_ports

__all__ = ["kept_ports"]
