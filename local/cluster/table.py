"""The stores of a cluster, and how many servers each has."""

from typing import Final

from local.cluster import etcd, patroni, probes, proxy
from local.servers import kafka_server, redis_server
from local.servers import probes as plain_probes
from local.servers.process import Process
from local.stack.layout import Stack
from local.stack.provision import provision

PROXY: Final = "postgres-proxy"
SENTINEL: Final = "sentinel"

INSTANCES: Final = {"etcd": 3, "postgres": 3, PROXY: 2, "redis": 3, SENTINEL: 3, "kafka": 3}
"""How many servers of each store."""


async def _begin(stack: Stack) -> None:
    """Nothing is written before a second server has it too."""
    await probes.await_sync_standby(stack)
    await provision(stack)


STORES: Final = (
    Process(
        "etcd",
        etcd.command,
        ports=["client", "peer"],
        probe=probes.etcd,
        prepare=etcd.prepare,
        role=probes.etcd_role,
    ),
    Process(
        "postgres",
        patroni.command,
        ports=["sql", "rest"],
        probe=probes.postgres,
        needs=["etcd"],
        prepare=patroni.prepare,
        privileges=patroni.privileges,
        # Patroni alone decides which server runs as what. Started again, it takes over the server it left.
        also=patroni.server_pids,
        role=probes.postgres_role,
        stop_timeout_s=30.0,
    ),
    Process(
        PROXY,
        proxy.command,
        ports=["primary", "replica", "admin"],
        probe=probes.proxy,
        needs=["postgres"],
        prepare=proxy.prepare,
        once_ready=_begin,
    ),
    Process(
        "redis",
        redis_server.command,
        ports=["redis"],
        probe=probes.redis,
        prepare=redis_server.prepare,
        role=probes.redis_role,
        # A master comes back empty: before it is missed, its replicas would forget everything too.
        restart_after_s=2 * redis_server.DOWN_AFTER_MS / 1000 + 2,
    ),
    Process(
        SENTINEL,
        redis_server.sentinel_command,
        ports=["sentinel"],
        probe=probes.sentinel,
        needs=["redis"],
        prepare=redis_server.prepare_sentinel,
    ),
    Process(
        "kafka",
        kafka_server.command,
        ports=["broker", "controller"],
        probe=plain_probes.kafka,
        prepare=kafka_server.prepare,
        role=probes.kafka_role,
    ),
)
