"""What a service does with the messages of a log."""

from collections.abc import Collection, Mapping, Sequence
from typing import Generic, TypeVar

from mesh.kafka.dead_letters import Poison
from mesh.kafka.offsets import Place
from mesh.kafka.record import Record
from mesh.kafka.topics import TopicIdentity
from mesh.postgres import Connection

T = TypeVar("T")
R = TypeVar("R")


class DecodedRecord(Generic[T]):
    """A message that was read, with what its handler made of it, or why it is a dead letter."""

    __slots__ = ("place", "poison", "record", "trace", "value")

    def __init__(self, record: Record, place: Place, value: T | None, poison: Poison | None) -> None:
        self.record = record
        self.place = place
        self.value = value
        """What the handler made of it; None if it is a dead letter."""
        self.poison = poison
        self.trace = ""
        """The `traceparent` for what follows from it, while it is stored; empty if it is not sampled."""


class Handler(Generic[T, R]):
    """What a service does with the messages of a log. Whatever it stored once, it must recognise."""

    def read(self, record: Record) -> T:
        """Decodes a message.

        Raises:
            Poison: nothing can be done with it.
        """
        raise NotImplementedError

    async def store(self, connection: Connection, entries: Sequence[DecodedRecord[T]]) -> R:
        """Stores messages, in the order of reading, in the transaction that also stores their offsets.

        May be called again with the same entries if that transaction failed.
        """
        raise NotImplementedError

    async def stored(self, entries: Sequence[DecodedRecord[T]], outcome: R, /) -> None:
        """What is to be done once they are stored for certain, such as metrics. Must not fail."""

    def letter_headers(self, entry: DecodedRecord[T]) -> Mapping[str, str]:
        """What a dead letter says of itself beside the usual headers."""
        return {}

    async def meet(self, connection: Connection, topic: str, identity: TopicIdentity) -> bool:
        """Takes note of a topic before its first message is stored; called now and then again.

        Answers whether what the group has committed in Kafka may be trusted, if nothing else says where
        to begin: not if the topic is known to have been made again.
        """
        return True

    async def mine(self, connection: Connection, places: Collection[Place]) -> Collection[Place]:
        """Those of the partitions that are stored in this database, where a log is divided among several.

        Asked now and then again. In the transaction in which it is asked nobody may give one away.
        """
        return places

    async def restart(self, connection: Connection, place: Place) -> None:
        """The partition lost its end, or was set back: its offsets are given a second time.

        It is read from its start next. Called in the transaction that says so.
        """

    async def held(self, connection: Connection, places: Collection[Place]) -> Collection[Place]:
        """Those of the partitions that must not be read yet."""
        return ()
