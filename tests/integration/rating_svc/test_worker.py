"""The worker between a real log and a real database: each submission counts once, in the log's order."""

import asyncio
import dataclasses
import random
import uuid

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from mesh.kafka.event_ids import place_of
from mesh.kafka.topics import bounds_of
from mesh.pruning import Pruner
from rating_svc import metrics, store
from rating_svc.cache import PendingWrite
from rating_svc.config import WORKERS
from rating_svc.submissions import Position, Submission
from tests.support.ratings_rig import Rig, submission
from tests.support.waiting import eventually


def crowd(seed: int, users: int = 20, movies: int = 5, count: int = 600) -> list[Submission]:
    """What users submit: scores, changes, and deleted ratings."""
    chance = random.Random(seed)
    return [
        submission(
            f"user{chance.randrange(users)}",
            chance.randrange(1, movies + 1),
            chance.choice([None, *range(1, 11)]),
        )
        for _ in range(count)
    ]


def last_of(wishes: list[Submission]) -> dict[tuple[str, int], int]:
    last = {(wish.user, wish.movie): wish.score for wish in wishes}
    return {key: score for key, score in last.items() if score is not None}


async def test_the_last_submission_of_each_rating_is_stored_and_its_changes_add_up(bench: Rig) -> None:
    wishes = crowd(seed=1)
    await bench.submit(wishes)
    async with bench.working(bench.worker(batch=50)):
        await bench.stored(last_of(wishes))
    assert await bench.aggregates() == await bench.recount()


async def test_a_repeat_takes_effect_once_and_does_not_bring_an_old_score_back(bench: Rig) -> None:
    first = submission("ann", 1, 5)
    changed = submission("ann", 1, 8)
    await bench.submit([first, first, changed])
    async with bench.working():
        await bench.stored({("ann", 1): 8})
        await bench.submit([first])
        await bench.drained()
    assert await bench.scores() == {("ann", 1): 8}
    assert await bench.events() == [(1, None, 5), (1, 5, 8)]


async def test_reading_the_whole_log_again_changes_nothing(bench: Rig) -> None:
    wishes = crowd(seed=2)
    repeats = random.Random(2).sample(wishes, 100)
    await bench.submit(wishes + repeats)
    async with bench.working():
        await bench.drained()
    assert await bench.scores() == last_of(wishes)
    rows, events = await bench.rows(), await bench.events()
    async with bench.working(bench.worker(group="again", batch=70)):
        await bench.drained("again")
    assert await bench.rows() == rows
    assert await bench.events() == events


async def prune(bench: Rig) -> None:
    await Pruner(bench.postgres, store.aged(bench.retention), metrics.PRUNED, 60).prune()


async def test_an_identity_is_not_forgotten_while_the_log_may_hold_a_copy(bench: Rig) -> None:
    """Ann rates 8, then 3, and the first request comes once more: days later, all of it is read again."""
    first = submission("ann", 1, 8)
    await bench.submit([first, submission("ann", 1, 3), first])
    async with bench.working():
        await bench.stored({("ann", 1): 3})
        await bench.drained()
    days = bench.retention.held_s
    await bench.fetch("UPDATE seen_requests SET seen_at = seen_at - make_interval(secs => $1)", days)
    await prune(bench)
    async with bench.working(bench.worker(group="again")):
        await bench.drained("again")
    assert await bench.scores() == {("ann", 1): 3}
    # What was read again is as young as the copy that was read: it is kept for as long once more.
    await bench.fetch("UPDATE seen_requests SET seen_at = seen_at - make_interval(secs => $1)", days)
    await prune(bench)
    async with bench.working(bench.worker(group="much later")):
        await bench.drained("much later")
    assert await bench.scores() == {("ann", 1): 3}
    assert await bench.events() == [(1, None, 8), (1, 8, 3)]
    await bench.fetch(
        "UPDATE seen_requests SET seen_at = seen_at - make_interval(secs => $1)",
        bench.retention.remember_s + 60,
    )
    await prune(bench)
    assert await bench.fetch("SELECT FROM seen_requests") == []


async def test_a_repeat_is_known_for_as_long_as_the_log_may_hold_it(bench: Rig) -> None:
    """Ann rates 8, then 3, and days later the first request comes again: the log keeps it for longest."""
    first = submission("ann", 1, 8)
    await bench.submit([first, submission("ann", 1, 3)])
    days = "UPDATE seen_requests SET seen_at = seen_at - make_interval(secs => $1)"
    async with bench.working():
        await bench.drained()
        await bench.fetch(days, bench.retention.held_s)
        await bench.submit([first])
        await bench.drained()
    await bench.fetch(days, bench.retention.held_s)
    await prune(bench)
    ends = await bounds_of(bench.kafka, [(bench.topic, number) for number in range(bench.partitions)])
    (hers,) = [number for (_, number), (_, end) in ends.items() if end == 3]
    for deleted in bench.admin.delete_records([TopicPartition(bench.topic, hers, 2)]).values():
        await asyncio.wrap_future(deleted)
    async with bench.working(bench.worker(group="again")):
        await bench.drained("again")
    assert await bench.scores() == {("ann", 1): 3}


async def test_workers_that_come_and_go_lose_nothing_and_count_nothing_twice(bench: Rig) -> None:
    wishes = crowd(seed=3, count=4000)
    chance = random.Random(3)

    async def write() -> None:
        for start in range(0, len(wishes), 100):
            await bench.submit(wishes[start : start + 100])

    async def come_and_go() -> None:
        while not writing.done():
            async with bench.working(bench.worker(batch=40)):
                await asyncio.sleep(chance.uniform(0.1, 1.0))

    writing = asyncio.create_task(write())
    async with bench.working(bench.worker(batch=40)):
        await asyncio.gather(come_and_go(), come_and_go(), writing)
        await bench.drained(timeout_s=60)
    assert await bench.scores() == last_of(wishes)
    assert await bench.aggregates() == await bench.recount()


async def test_two_workers_that_deal_with_the_same_messages_do_not_disturb_each_other(bench: Rig) -> None:
    """As after a rebalance that a slow worker did not notice, only all the time."""
    wishes = crowd(seed=4, count=3000)
    await bench.submit(wishes)
    async with (
        bench.working(bench.worker(group="one", batch=33)),
        bench.working(bench.worker(group="two", batch=47)),
    ):
        await asyncio.gather(bench.drained("one", 60), bench.drained("two", 60))
    assert await bench.scores() == last_of(wishes)
    assert await bench.aggregates() == await bench.recount()


async def test_a_database_too_slow_for_a_whole_batch_gets_smaller_ones(bench: Rig) -> None:
    await slow_down(bench, 0.01)
    wishes = [submission(f"user-{i}", 1, 5) for i in range(400)]
    await bench.submit(wishes)
    # All of them at once would take four seconds, and a statement may take three.
    async with bench.working(bench.worker(batch=400)):
        await bench.stored({(wish.user, 1): 5 for wish in wishes}, 60)


async def slow_down(bench: Rig, row_s: float) -> None:
    """Makes each row cost the database so many seconds."""
    await bench.fetch(
        f"""CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep({row_s} * (SELECT count(*) FROM come)); RETURN NULL; END $$"""
    )
    await bench.fetch(
        """CREATE TRIGGER slow AFTER INSERT ON seen_requests REFERENCING NEW TABLE AS come
        FOR EACH STATEMENT EXECUTE FUNCTION slow()"""
    )


async def test_a_topic_that_is_made_again_under_a_running_worker_is_a_later_life(bench: Rig) -> None:
    await bench.submit([submission("ann", 1, 5), submission("ann", 1, 6)])
    async with bench.working():
        await bench.stored({("ann", 1): 6})
        admin = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
        await asyncio.wrap_future(admin.delete_topics([bench.topic])[bench.topic])
        await eventually(lambda: bench.topic not in admin.list_topics(timeout=30).topics)
        await bench.register()
        # Offset 0 of the new topic is later than offset 1 of the old one.
        await bench.submit([submission("ann", 1, 9)])
        await bench.stored({("ann", 1): 9})
        await bench.submit([submission("ann", 1, 2)])
        await bench.stored({("ann", 1): 2})
    rows = await bench.fetch("SELECT DISTINCT log_epoch, log_offset FROM ratings")
    assert [tuple(row) for row in rows] == [(2, 1)]
    ids = [row[0] for row in await bench.fetch("SELECT event_id FROM outbox ORDER BY number")]
    assert [place.epoch for place in map(place_of, ids) if place] == [1, 1, 2, 2]


async def test_a_store_that_is_set_back_gets_all_of_it_again_and_makes_the_same_events(bench: Rig) -> None:
    """The primary dies, and its asynchronous replica, which was behind, is promoted."""
    early, late = crowd(seed=5, count=300), crowd(seed=6, count=300)
    tables = ("ratings", "seen_requests", "outbox", "kafka_offsets", "submission_log")
    await bench.submit(early)
    async with bench.working(bench.worker(batch=40)):
        await bench.drained()
        for table in tables:
            await bench.fetch(f"CREATE TABLE then_{table} AS TABLE {table}")
        await bench.submit(late)
        await bench.drained()
        published = set(
            map(tuple, await bench.fetch("SELECT event_id, movie_id, old_score, new_score FROM outbox"))
        )
        rows = await bench.rows()
        await bench.run(
            f"BEGIN; TRUNCATE {', '.join(tables)};"
            + "".join(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE then_{table};" for table in tables)
            + "COMMIT"
        )
        # Nobody writes any more: what was lost is still found.
        await bench.stored(last_of(early + late))
    assert await bench.rows() == rows
    events = await bench.fetch("SELECT event_id, movie_id, old_score, new_score FROM outbox")
    assert set(map(tuple, events)) == published
    assert await bench.aggregates() == await bench.recount()


async def test_users_stay_where_they_are_when_the_topic_is_altered(bench: Rig) -> None:
    users = [f"user-{i}" for i in range(40)]
    await append(bench, [submission(user, 1, 5) for user in users])
    async with bench.working() as _:
        await bench.stored({(user, 1): 5 for user in users})
        grown = bench.admin.create_partitions([NewPartitions(bench.topic, 2 * bench.partitions)])
        await asyncio.wrap_future(grown[bench.topic])
        await append(bench, [submission(user, 1, 9) for user in users])
        await bench.stored({(user, 1): 9 for user in users})
    # As after a restart of everything: a process that starts now reads how many there are.
    await bench.register()
    await append(bench, [submission(user, 1, 3) for user in users])
    async with bench.working():
        await bench.stored({(user, 1): 3 for user in users})
    bounds = await bounds_of(bench.kafka, [(bench.topic, p) for p in range(2 * bench.partitions)])
    assert {p for (_, p), (_, high) in bounds.items() if high} <= set(range(bench.partitions))


async def append(bench: Rig, wishes: list[Submission]) -> None:
    """As the RPC front does."""
    await asyncio.gather(*(bench.log.append(wish, {}) for wish in wishes))


async def test_the_registered_number_of_partitions_spreads_users_as_kafkas_own_clients_do(bench: Rig) -> None:
    life = bench.registry.newest()
    for user in ("ann", "bob", "Zoë", "user-17"):
        sent = await bench.producer.send(bench.topic, user.encode(), b"")
        assert sent.partition == life.partition_of(user)


async def test_two_workers_that_hold_the_same_partitions_store_each_message_once(bench: Rig) -> None:
    """One was frozen and does not know yet that it lost them; only here all the time."""
    before = metrics.SUBMISSIONS.labels("duplicate")._value.get()
    wishes = crowd(seed=7, count=2000)
    async with (
        bench.working(bench.worker(group="one", reader="both", batch=33)),
        bench.working(bench.worker(group="two", reader="both", batch=47)),
    ):
        await bench.submit(wishes)
        await bench.drained("both", 60)
    assert await bench.scores() == last_of(wishes)
    assert await bench.aggregates() == await bench.recount()
    assert metrics.SUBMISSIONS.labels("duplicate")._value.get() == before


async def test_totals_say_which_events_they_hold(bench: Rig) -> None:
    """Of the same snapshot: whoever sets sums to these totals knows which events not to count any more."""
    stored: list[tuple[dict[tuple[int, int], int], set[int]]] = []
    async with bench.working(bench.worker(group=WORKERS, batch=50)):
        for seed in (8, 9):
            await bench.submit(crowd(seed=seed))
            await bench.drained(WORKERS)
            async with bench.postgres.read() as connection, store.snapshot(connection) as totals:
                places = {(epoch, partition): at for epoch, partition, at in totals.stored}
            rows = await bench.fetch("SELECT event_id FROM outbox")
            stored.append((places, {row[0] for row in rows}))
    (before, first), (after, both) = stored
    for places, inside, outside in ((before, first, both - first), (after, both, set[int]())):
        assert {event for event in both if holds(places, event)} == inside
        assert not any(holds(places, event) for event in outside)


def holds(places: dict[tuple[int, int], int], event: int) -> bool:
    place = place_of(event)
    assert place is not None
    return place.offset < places.get((place.epoch, place.partition), 0)


async def test_the_order_is_the_logs_whatever_the_clocks_say(bench: Rig) -> None:
    """The front that takes the later write is an hour behind."""
    first = submission("ann", 1, 5)
    behind = dataclasses.replace(submission("ann", 1, 8), submit_us=first.submit_us - 3_600_000_000)
    async with bench.working():
        await bench.submit([first])
        await bench.stored({("ann", 1): 5})
        await bench.submit([behind])
        await bench.stored({("ann", 1): 8})


async def test_a_rating_keeps_the_time_of_its_first_score(bench: Rig) -> None:
    first = submission("ann", 1, 5)
    wishes = [dataclasses.replace(submission("ann", 1, 7), submit_us=first.submit_us + 1_000_000)]
    wishes.append(dataclasses.replace(submission("ann", 1, None), submit_us=first.submit_us + 2_000_000))
    wishes.append(dataclasses.replace(submission("ann", 1, 9), submit_us=first.submit_us + 3_000_000))
    async with bench.working():
        for wish in (first, *wishes):
            await bench.submit([wish])
            await bench.drained()
    (row,) = await bench.fetch("SELECT create_time, update_time FROM ratings")
    assert [store.to_us(time) - first.submit_us for time in row] == [0, 3_000_000]


async def test_dealt_with_writes_leave_redis_also_if_they_were_repeats(bench: Rig) -> None:
    user = f"user-{uuid.uuid4()}"
    first = submission(user, 1, 5)
    await bench.submit([first, first])
    await bench.pending.put(user, [PendingWrite(1, 5, Position(1, 1), first.submit_us)])
    worker = bench.worker()
    async with bench.working(worker):
        await bench.stored({(user, 1): 5})

        async def cleared() -> bool:
            await bench.settling.sweep()
            return not await bench.redis.exists(f"rating:pending:{{{user}}}")

        await eventually(cleared)
