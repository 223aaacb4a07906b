"""The shape of production on one machine: `marquee up --cluster`.

| module | what it starts |
|---|---|
| `table` | the processes, and how many of each |
| `etcd` | three etcd, in which Patroni keeps who leads |
| `patroni` | three PostgreSQL servers, of which Patroni makes one the primary |
| `proxy` | two Envoys before them, which ask Patroni who is the primary |
| `probes` | is it ready, and what is it among its like? |

Kafka's brokers and Redis' servers are those of a plain stack, only more of them:
`local.servers.kafka_server`, `local.servers.redis_server`.
"""

from local.cluster.etcd import kept_ports
from local.cluster.table import INSTANCES, PROXY, SENTINEL, STORES

__all__ = ["INSTANCES", "PROXY", "SENTINEL", "STORES", "kept_ports"]
