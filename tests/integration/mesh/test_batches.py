"""The chassis's reader between a real log and a real database: each message is stored once."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh import postgres
from mesh.errors import unavailable
from mesh.kafka import (
    BatchConsumer,
    BatchReader,
    DeadLetterBox,
    DeadLetterLimit,
    DecodedRecord,
    Handler,
    KafkaConfig,
    KafkaProducer,
    Poison,
    Record,
    Topic,
    dead_letters,
    ensure_topics,
    offsets,
)
from mesh.kafka.dead_letters import DeadLetter
from mesh.kafka.topics import bounds_of
from mesh.kafka.tracker import EXPIRED
from mesh.postgres import Connection, PostgresConfig
from mesh.tasks import end
from tests.support.batch_readers import stopped
from tests.support.waiting import eventually

ROLE = "rating_svc"
PARTITIONS = 3


class Keeper(Handler[str, int]):
    """Keeps every message, as often as it is told to: a second time would be seen."""

    def read(self, record: Record) -> str:
        if record.value.startswith(b"bad"):
            raise Poison("BAD", "it says so")
        return record.value.decode()

    async def store(self, connection: Connection, entries: Sequence[DecodedRecord[str]]) -> int:
        await connection.execute(
            "INSERT INTO kept SELECT unnest($1::text[])", [entry.value for entry in entries]
        )
        return len(entries)


class Bench:
    """A topic and a database of their own, and readers between them."""

    def __init__(self, stack: Stack, dsn: str) -> None:
        self.dsn = dsn
        self.name = f"test.{uuid.uuid4().hex}"
        self.kafka = KafkaConfig(bootstrap=stack.kafka_bootstrap, session_timeout_s=6)
        self.admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})

    async def open(self) -> None:
        self.producer = KafkaProducer(self.kafka)
        self.postgres = await postgres.connect(PostgresConfig(primary=self.dsn))
        await self.fetch("CREATE TABLE kept (value text)")
        for table in (offsets.TABLE, dead_letters.TABLE):
            connection = await asyncpg.connect(self.dsn)
            await connection.execute(table)
            await connection.close()
        await self.make_topic()

    async def make_topic(self) -> None:
        await ensure_topics(self.kafka, [Topic(self.name, PARTITIONS), Topic(self.letters, 1)])

    @property
    def letters(self) -> str:
        return f"{self.name}.dlq"

    async def close(self) -> None:
        await self.producer.close()
        await self.postgres.close()

    async def send(self, values: Sequence[str]) -> None:
        sends = (self.producer.send(self.name, value.encode(), value.encode()) for value in values)
        await asyncio.gather(*sends)

    def reader(
        self,
        group: str = "group",
        limit: int = 100,
        batch: int = 20,
        handler: Handler[str, int] | None = None,
        box: DeadLetterBox | None = None,
    ) -> BatchReader[str, int]:
        return BatchReader(
            "keeper",
            lambda: BatchConsumer(self.kafka, f"{self.name} {group}", [self.name]),
            self.kafka,
            self.postgres,
            handler or Keeper(),
            box
            or DeadLetterBox("keeper", self.letters, self.producer, self.postgres, DeadLetterLimit(limit)),
            batch,
        )

    @contextlib.asynccontextmanager
    async def reading(self, reader: BatchReader[str, int]) -> AsyncIterator[BatchReader[str, int]]:
        task = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            await end([task])

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        """Asks the database, past the code under test."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def kept(self) -> list[str]:
        return sorted(row[0] for row in await self.fetch("SELECT value FROM kept"))

    async def keeps(self, values: Sequence[str], timeout_s: float = 30.0) -> None:
        """Waits until the database has all of these, and sees that it has nothing else."""

        async def enough() -> bool:
            return len(await self.kept()) >= len(values)

        await eventually(enough, timeout_s)
        assert await self.kept() == sorted(values)

    async def letter_count(self) -> int:
        found = await bounds_of(self.kafka, [(self.letters, 0)])
        return found[self.letters, 0][1]


@pytest.fixture
async def bench(stack: Stack) -> AsyncIterator[Bench]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(stack.dsn(SUPERUSER, database="postgres"))
    await admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    made = Bench(stack, stack.dsn(ROLE, database=name))
    await made.open()
    yield made
    await made.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def values(kind: str, count: int) -> list[str]:
    return [f"{kind} {number:04}" for number in range(count)]


async def test_a_store_that_is_set_back_reads_again_what_it_lost(bench: Bench) -> None:
    """As a replica that lagged and was promoted: the rows and the offsets of a moment ago."""
    first, second = values("first", 60), values("second", 60)
    await bench.send(first)
    async with bench.reading(bench.reader()):
        await bench.keeps(first)
        await bench.fetch("CREATE TABLE then_offsets AS SELECT * FROM kafka_offsets")
        await bench.fetch("CREATE TABLE then_kept AS SELECT * FROM kept")
        await bench.send(second)
        await bench.keeps(first + second)
        connection = await asyncpg.connect(bench.dsn)
        await connection.execute(
            """BEGIN; TRUNCATE kept, kafka_offsets; INSERT INTO kept TABLE then_kept;
            INSERT INTO kafka_offsets TABLE then_offsets; COMMIT"""
        )
        await connection.close()
        # Nothing more is sent: it is found nevertheless.
        await bench.keeps(first + second)
        await bench.send(third := values("third", 30))
        await bench.keeps(first + second + third)


async def test_a_store_that_knows_nothing_any_more_reads_from_the_start(bench: Bench) -> None:
    await bench.send(first := values("first", 60))
    async with bench.reading(bench.reader()):
        await bench.keeps(first)
        await bench.fetch("TRUNCATE kept, kafka_offsets")
        await bench.keeps(first)


async def test_two_that_both_take_every_partition_for_theirs_store_each_message_once(bench: Bench) -> None:
    """As a process that was frozen, when it comes back; only all the time."""
    await bench.send(first := values("first", 500))
    async with bench.reading(bench.reader("one", batch=13)), bench.reading(bench.reader("two", batch=17)):
        await bench.send(second := values("second", 500))
        await bench.keeps(first + second, 60)
        await asyncio.sleep(1)
        await bench.keeps(first + second)


async def test_what_a_group_had_committed_is_where_a_store_without_offsets_begins(bench: Bench) -> None:
    """An older release kept its offsets in Kafka alone."""
    await bench.send(values("old", 60))
    consumer = BatchConsumer(bench.kafka, f"{bench.name} group", [bench.name])
    seen = 0
    while seen < 60:
        seen += len(await consumer.next_batch(100, 5))
        await consumer.commit()
    await consumer.close()
    await bench.send(new := values("new", 30))
    async with bench.reading(bench.reader()):
        await bench.keeps(new)


async def test_a_topic_that_is_made_again_under_a_running_reader_is_read_from_its_start(bench: Bench) -> None:
    await bench.send(first := values("first", 300))
    async with bench.reading(bench.reader()):
        await bench.keeps(first)
        await asyncio.wrap_future(bench.admin.delete_topics([bench.name])[bench.name])
        await eventually(lambda: bench.name not in bench.admin.list_topics(timeout=30).topics)
        await bench.make_topic()
        # Far fewer than before: their offsets are below those that were stored.
        await bench.send(second := values("second", 20))
        await bench.keeps(first + second, 60)


async def test_what_kafka_deleted_before_it_was_read_raises_an_alarm(bench: Bench) -> None:
    await bench.send(first := values("first", 30))
    async with bench.reading(bench.reader()):
        await bench.keeps(first)
    await bench.send(values("gone", 30))
    ends = [TopicPartition(bench.name, number, -1) for number in range(PARTITIONS)]
    for deleted in bench.admin.delete_records(ends).values():
        await asyncio.wrap_future(deleted)
    before = EXPIRED.labels("keeper", bench.name)._value.get()
    await bench.send(last := values("last", 30))
    async with bench.reading(bench.reader()):
        await bench.keeps(first + last)
    assert EXPIRED.labels("keeper", bench.name)._value.get() - before == 30


async def test_a_dead_letter_counts_once_however_often_its_batch_is_read(bench: Bench) -> None:
    """Sixty of a hundred that are accepted; the database can't take the batch for a while."""
    await bench.fetch("ALTER TABLE kept RENAME TO away")
    # Good ones first: with none of them stored, nothing behind them is.
    await bench.send([*(good := values("good", 20)), *values("bad", 60)])
    for times in (1, 2, 3):
        async with bench.reading(bench.reader(batch=100)) as reader:
            await eventually(lambda times=times: sent(bench, times * 60))
            await reader.ping()
    await bench.fetch("ALTER TABLE away RENAME TO kept")
    async with bench.reading(bench.reader(batch=100)) as reader:
        await bench.keeps(good)
        await reader.ping()
    (row,) = await bench.fetch("SELECT count(*) FROM dead_letters")
    assert row[0] == 60


async def sent(bench: Bench, letters: int) -> bool:
    return await bench.letter_count() >= letters


async def test_the_limit_is_that_of_all_processes_and_outlives_a_restart(bench: Bench) -> None:
    await bench.send(values("bad", 30))
    for _ in range(2):
        async with bench.reading(bench.reader(limit=20, batch=10)) as reader:
            await stopped(reader, "BAD")
        assert await bench.letter_count() == 20
    await bench.send(good := values("good", 20))
    async with bench.reading(bench.reader(limit=100)):
        await bench.keeps(good)
    assert await bench.letter_count() == 30


async def test_what_the_database_refuses_is_found_and_the_rest_is_stored(bench: Bench) -> None:
    await bench.fetch("ALTER TABLE kept ADD CHECK (value <> 'a 0013')")
    await bench.send(many := values("a", 80))
    async with bench.reading(bench.reader(batch=80)):
        await bench.keeps([value for value in many if value != "a 0013"])
        await eventually(lambda: sent(bench, 1))
    assert await bench.letter_count() == 1


class FullBox(DeadLetterBox):
    """Dead letters that the log takes only at the second attempt."""

    attempts = 0

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self.attempts += 1
            if self.attempts == 1:
                raise unavailable("QUEUE_UNAVAILABLE", "the log is away", retry_after=1)
        await super().bury(letters)


async def test_what_the_database_refuses_while_the_log_is_away_is_buried_when_it_is_back(
    bench: Bench,
) -> None:
    """Else it would be neither a row nor a dead letter."""
    await bench.fetch("ALTER TABLE kept ADD CHECK (value <> 'a 0013')")
    await bench.send(many := values("a", 80))
    box = FullBox("keeper", bench.letters, bench.producer, bench.postgres, DeadLetterLimit(100))
    async with bench.reading(bench.reader(batch=80, box=box)):
        await bench.keeps([value for value in many if value != "a 0013"])
        await eventually(lambda: sent(bench, 1))
    assert box.attempts == 2
