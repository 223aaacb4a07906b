"""Is it ready? One real question to each kind of server; an exception is a no."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from local.stack.layout import HOST, Stack, StackError
from local.stack.provision import REDIS_ADMIN, SUPERUSER
from mesh.services import DATABASE

Probe = Callable[[Stack, str], Awaitable[None]]

# One probe, not the whole start.
TIMEOUT_S: Final = 2.0


async def ask(probe: Probe, stack: Stack, name: str) -> str:
    """Asks once; returns what is wrong, or an empty text."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await probe(stack, name)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except Exception as error:  # each client library has its own
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


async def primary(stack: Stack, name: str) -> None:
    """The primary takes writes."""
    if await _sql(stack, name, "SELECT pg_is_in_recovery()"):
        raise StackError("it is in recovery")


async def slots(stack: Stack, name: str) -> str:
    """Which users a database of ratings has, where there are several; else an empty text."""
    import asyncpg

    if stack.shards == 1:
        return ""
    query = "SELECT count(*), max(total) FROM rating_svc.slots WHERE state <> 'closed'"
    try:
        row = await _row(stack, name, query, DATABASE)
    except asyncpg.UndefinedTableError:
        return ""  # no service has started yet
    if row[1] is None:
        return "all users" if name == "postgres" else "no users"
    return f"{row[0]} of {row[1]} slots"


async def replica(stack: Stack, _name: str) -> None:
    """The replica streams from the primary."""
    status = await _sql(stack, "postgres-replica", "SELECT status FROM pg_stat_wal_receiver")
    if status != "streaming":
        raise StackError("it does not stream from the primary")


async def _sql(stack: Stack, server: str, query: str) -> object:
    row: tuple[object, ...] = await _row(stack, server, query, "postgres")
    return row[0] if row else None


async def _row(stack: Stack, server: str, query: str, database: str) -> Any:
    import asyncpg

    connection = await asyncpg.connect(stack.dsn(SUPERUSER, server, database), timeout=TIMEOUT_S)
    try:
        return await connection.fetchrow(query)
    finally:
        await connection.close(timeout=1)


async def redis(stack: Stack, name: str) -> None:
    """Redis answers PING."""
    from mesh import redisdb

    config = redisdb.RedisConfig(url=redis_url(stack, name), timeout_s=TIMEOUT_S)
    async with redisdb.connect(config) as client:
        await client.ping()


def redis_url(stack: Stack, name: str) -> str:
    """One server of Redis, for its administrator."""
    password = stack.secrets.get(f"redis/{REDIS_ADMIN}")
    return f"redis://{REDIS_ADMIN}:{password}@{stack.address(name, 'redis')}/0"


async def kafka(stack: Stack, name: str) -> None:
    """The broker tells that it is in the cluster."""
    number = stack.names("kafka").index(name) + 1
    await asyncio.to_thread(_kafka, stack.address(name, "broker"), number)


def _kafka(address: str, number: int) -> None:
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 100})
    if number not in client.list_topics(timeout=TIMEOUT_S / 2).brokers:
        raise StackError("it knows of no broker")


async def grpc(stack: Stack, name: str) -> None:
    """The process says SERVING (grpc.health.v1)."""
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from local.stack import certificates
    from mesh import tls

    service = name.partition("-")[0].partition(".")[0]
    options = [
        # Each probe its own connection: a shared one would wait out its back-off while the process starts.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", tls.host_name(service)),
    ]
    files = tls.Files(certificates.of(stack.home, tls.OPERATOR))
    credentials = tls.channel_credentials(files.read())
    async with grpc.aio.secure_channel(stack.address(name, "grpc"), credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise StackError(f"it says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")


async def omdb(stack: Stack, name: str) -> None:
    """The simulator answers."""
    await http(stack.port(name, "http"), "/?apikey=probe&i=tt0111161")


async def envoy(stack: Stack, name: str) -> None:
    """The edge takes requests and sees a healthy instance of each service."""
    await http(stack.port(name, "edge"), "/readyz")


async def metrics(stack: Stack, name: str) -> None:
    """A process without gRPC tells its metrics."""
    await http(stack.port(name, "metrics"), "/metrics")


async def http(port: int, path: str) -> bytes:
    """A GET on loopback that must be answered with 200; returns the body."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 200 " not in f"{status} ":
        raise StackError(f"it answers {status!r}")
    return body
