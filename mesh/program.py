"""The program of a service: `python -m SERVICE ROLE`, and what operators run of it once.

Its roles are those of the table of services (`mesh.services`). Each runs until
SIGTERM and has one name in its logs and traces: `rating_svc` is the server,
`rating_svc-worker` another process. `migrate` does alone what every role does
when it starts, and ends: it brings the schema and the topics up to date.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc
import uvloop
from confluent_kafka import KafkaException

from mesh import channel, flag_source, postgres, redisdb, server, services, switches
from mesh.channel import ChannelConfig
from mesh.config import ConfigError, load
from mesh.errors import MarqueeError
from mesh.flag_source import FlagConfig
from mesh.kafka import KafkaConfig, KafkaProducer
from mesh.postgres import Postgres, PostgresConfig
from mesh.server import Server, ServerConfig
from mesh.switches import Switch

if TYPE_CHECKING:
    from redis.asyncio import Redis

MIGRATE: Final = "migrate"

_INTERRUPTED: Final = 130


class Parts:
    """The stores that a program uses: opened when they are asked for, and closed when it ends, in turn."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack: Final = stack

    async def postgres(self, config: PostgresConfig | None = None) -> Postgres:
        """PostgreSQL."""
        opened = await postgres.connect(config or load(PostgresConfig))
        self.stack.push_async_callback(opened.close)
        return opened

    def redis(self) -> "Redis":
        """Redis."""
        client = redisdb.connect(load(redisdb.RedisConfig))
        redisdb.export(client)
        self.stack.push_async_callback(client.aclose)
        return client

    def producer(self) -> KafkaProducer:
        """Kafka, to write."""
        producer = KafkaProducer(load(KafkaConfig))
        self.stack.push_async_callback(producer.close)
        return producer


class Process(Parts):
    """A role's process: its stores, its peers and its server."""

    def __init__(self, name: str, stack: AsyncExitStack) -> None:
        super().__init__(stack)
        self.server: Final = Server(name, load(ServerConfig))

    async def postgres(self, config: PostgresConfig | None = None) -> Postgres:
        """PostgreSQL, whose replicas are watched: without that they would get no reads."""
        opened = await super().postgres(config)
        self.server.background("replica lag", opened.watch)
        return opened

    async def switches(self, *used: Switch) -> None:
        """The kill switches of what this process does; they stand as the flags say before it serves."""
        source = flag_source.connect(load(FlagConfig), self.server.name, switches.parse)
        board = switches.Switchboard(source, used)
        await board.look()
        self.server.background("switches", board.watch)

    def peer(self, target: str, config: ChannelConfig, service: str) -> grpc.aio.Channel:
        """Another service, by its address."""
        opened = channel.connect(target, config, service=service)
        self.stack.push_async_callback(opened.close)
        return opened


Role: TypeAlias = Callable[[Process], Awaitable[None]]
"""Builds a process and runs its server."""


@dataclass(frozen=True)
class Command:
    """What a service does for operators: it ends, and tells them of what it did."""

    name: str
    help: str
    run: Callable[[argparse.Namespace, Parts], Awaitable[None]]
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _parser: None
    """Adds its arguments."""
    refusals: tuple[type[Exception], ...] = ()
    """Which errors it tells as a sentence, beside a store that is away and a setting that is wrong."""


@dataclass(frozen=True)
class Program:
    """A service's program.

    Args:
        service: its name in the table of services.
        roles: each of its roles.
        prepare: brings its schema and its topics up to date; roles do so themselves.
        commands: what it does for operators beside that.
    """

    service: str
    roles: Mapping[str, Role]
    prepare: Callable[[], Awaitable[None]]
    commands: Sequence[Command] = ()

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Does what the command line says; ends the process with a sentence where that can't be."""
        commands = {command.name: command for command in (self._migrating(), *self.commands)}
        given = self._parser(commands.values()).parse_args(arguments)
        if given.command in commands:
            _once(commands[given.command], given)
            return
        service = services.named(self.service)
        role = next(role for role in service.roles if role.name == given.command)
        name = service.process(role)
        server.main(name, lambda: _running(name, self.roles[role.name]))

    def _migrating(self) -> Command:
        async def migrate(_given: argparse.Namespace, _parts: Parts) -> None:
            await self.prepare()
            print(f"{self.service}: the schema and the topics are up to date")

        help_ = "Bring the schema and the topics up to date, and end."
        return Command(MIGRATE, help_, migrate, refusals=(RuntimeError,))

    def _parser(self, commands: Iterable[Command]) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m {self.service}")
        words = parser.add_subparsers(dest="command", required=True)
        for role in services.named(self.service).roles:
            words.add_parser(role.name, help=role.purpose)
        for command in commands:
            command.arguments(words.add_parser(command.name, help=command.help))
        return parser


async def _running(name: str, role: Role) -> None:
    async with AsyncExitStack() as stack:
        await role(Process(name, stack))


def _once(command: Command, given: argparse.Namespace) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            await command.run(given, Parts(stack))

    refusals: tuple[type[Exception], ...] = (MarqueeError, ConfigError, KafkaException, *command.refusals)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except refusals as error:
        raise SystemExit(f"{command.name}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
