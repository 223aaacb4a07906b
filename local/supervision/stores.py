"""The stores of a local stack, in each of its shapes: what runs, and how many of each."""

import signal
from functools import partial
from typing import Final

from local.cluster import etcd, patroni, proxy
from local.cluster import probes as cluster_probes
from local.servers import kafka_server, kafka_users, postgres_server, probes, redis_server
from local.servers.process import SLOW_START_S, Process
from local.stack.layout import MOST_SHARDS, Shape, Stack, shard_name
from local.stack.provision import provision, provision_shard
from mesh.services import Part

PROXY: Final = "postgres-proxy"
SENTINEL: Final = "sentinel"


def _shard(number: int) -> Process:
    """A database of ratings beside the first, for `marquee up --shards`."""
    name = shard_name(number)
    return Process(
        name,
        postgres_server.shard_command,
        ports=["sql"],
        probe=probes.primary,
        prepare=postgres_server.prepare_primary,
        once_ready=partial(provision_shard, name=name),
        privileges=postgres_server.plain_user,
        role=probes.slots,
        stop_signal=signal.SIGINT,
    )


SHARDS: Final = tuple(map(_shard, range(1, MOST_SHARDS)))
"""Of these, a stack has as many as it was asked for."""

_PLAIN: Final = (
    Process(
        "postgres",
        lambda stack, _: postgres_server.primary_command(stack),
        ports=["sql"],
        probe=probes.primary,
        prepare=postgres_server.prepare_primary,
        once_ready=provision,
        privileges=postgres_server.plain_user,
        role=probes.slots,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
    ),
    Process(
        "postgres-replica",
        lambda stack, _: postgres_server.replica_command(stack),
        ports=["sql"],
        probe=probes.replica,
        needs=["postgres"],
        prepare=postgres_server.prepare_replica,
        privileges=postgres_server.plain_user,
        stop_signal=signal.SIGINT,
    ),
    *SHARDS,
    Process(
        "redis",
        redis_server.command,
        ports=["redis"],
        probe=probes.redis,
        prepare=redis_server.prepare,
    ),
    Process(
        "kafka",
        kafka_server.command,
        ports=["broker", "controller", *kafka_users.ports()],
        probe=probes.kafka,
        prepare=kafka_server.prepare,
        once_ready=kafka_users.once_ready,
        start_timeout_s=SLOW_START_S,
    ),
)


async def _begin(stack: Stack) -> None:
    """Nothing is written before a second server has it too."""
    await cluster_probes.await_sync_standby(stack)
    await provision(stack)


_CLUSTER: Final = (
    Process(
        "etcd",
        etcd.command,
        ports=["client", "peer"],
        probe=cluster_probes.etcd,
        prepare=etcd.prepare,
        role=cluster_probes.etcd_role,
    ),
    Process(
        "postgres",
        patroni.command,
        ports=["sql", "rest"],
        probe=cluster_probes.postgres,
        needs=["etcd"],
        prepare=patroni.prepare,
        privileges=patroni.privileges,
        # Patroni alone decides which server runs as what. Started again, it takes over the server it left.
        also=patroni.server_pids,
        role=cluster_probes.postgres_role,
        stop_timeout_s=30.0,
    ),
    Process(
        PROXY,
        proxy.command,
        ports=["primary", "replica", "admin"],
        probe=cluster_probes.proxy,
        needs=["postgres"],
        prepare=proxy.prepare,
        once_ready=_begin,
    ),
    Process(
        "redis",
        redis_server.command,
        ports=["redis"],
        probe=cluster_probes.redis,
        prepare=redis_server.prepare,
        role=cluster_probes.redis_role,
        # A master comes back empty: before it is missed, its replicas would forget everything too.
        restart_after_s=2 * redis_server.DOWN_AFTER_MS / 1000 + 2,
    ),
    Process(
        SENTINEL,
        redis_server.sentinel_command,
        ports=["sentinel"],
        probe=cluster_probes.sentinel,
        needs=["redis"],
        prepare=redis_server.prepare_sentinel,
    ),
    Process(
        "kafka",
        kafka_server.command,
        ports=["broker", "controller", *kafka_users.ports()],
        probe=probes.kafka,
        prepare=kafka_server.prepare,
        once_ready=kafka_users.once_ready,
        start_timeout_s=SLOW_START_S,
        role=cluster_probes.kafka_role,
    ),
)

STORES: Final = {Shape.PLAIN: _PLAIN, Shape.CLUSTER: _CLUSTER}

INSTANCES: Final[dict[Shape, dict[str, int]]] = {
    Shape.PLAIN: {},
    Shape.CLUSTER: {"etcd": 3, "postgres": 3, PROXY: 2, "redis": 3, SENTINEL: 3, "kafka": 3},
}
"""How many servers of each store, where that is not one."""

STANDS_FOR: Final = {
    Part.PRIMARY: ("postgres", PROXY),
    Part.REPLICA: ("postgres-replica",),
    Part.REDIS: ("redis", SENTINEL),
    Part.KAFKA: ("kafka",),
    Part.OMDB: ("omdb",),
}
"""The processes that stand for what services need: of these, a stack has what its shape has."""
