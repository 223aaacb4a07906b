"""The worker between a real log and a real database: each submission counts once, in the log's order."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from confluent_kafka.admin import AdminClient

from mesh.kafka import Topic, ensure_topics
from mesh.local.stack import Stack
from rating_svc import dead_letters, dlq
from rating_svc.config import LogConfig
from rating_svc.submissions import Position, Submission, encode
from tests.faults.ratings_rig import Rig, rig, submission
from tests.support.waiting import eventually


@pytest.fixture
async def bench(stack: Stack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        yield made


def crowd(seed: int, users: int = 20, movies: int = 5, count: int = 600) -> list[Submission]:
    """What users submit: scores, changes, and ratings taken back."""
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
    assert await bench.events() == [(1, None, 8)]


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
    # Also when the request ids have long been forgotten.
    await bench.fetch("DELETE FROM seen_requests")
    async with bench.working(bench.worker(group="much later", batch=70)):
        await bench.drained("much later")
    assert await bench.rows() == rows
    assert await bench.events() == events


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


async def test_poison_goes_to_the_dead_letters_with_its_reason_and_holds_nobody_up(bench: Rig) -> None:
    bad = submission("ann", 2, 5)
    await bench.submit([submission("ann", 1, 5)])
    await bench.write(
        [(b"ann", b"\xff not a message"), (b"ann", encode(bad).replace(b"movies/", b"titles/"))]
    )
    await bench.submit([submission("ann", 3, 7)])
    async with bench.working():
        await bench.stored({("ann", 1): 5, ("ann", 3): 7})
        letters = await eventually(lambda: of(bench, 2))
    assert [letter.reason for letter in letters] == ["UNPARSABLE", "INVALID_MOVIE_NAME"]
    assert [letter.headers[dead_letters.OFFSET] for letter in letters] == ["1", "2"]
    assert letters[0].value == b"\xff not a message"
    assert "titles/" in dlq.shown(letters[1])


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


async def test_what_the_database_refuses_is_found_and_the_rest_is_stored(bench: Rig) -> None:
    async with bench.working():
        await bench.submit([submission("start", 1, 1)])
        await bench.stored({("start", 1): 1})
        await bench.fetch("ALTER TABLE ratings ADD CONSTRAINT planted CHECK (movie_id <> 666)")
        wishes = [submission(f"user{i}", 666 if i == 13 else i + 1, 5) for i in range(40)]
        await bench.submit(wishes)
        good = {(w.user, w.movie): 5 for w in wishes if w.movie != 666}
        await bench.stored({("start", 1): 1, **good})
        (letter,) = await eventually(lambda: of(bench, 1))
    assert letter.reason == "DATABASE_REFUSED"
    assert "planted" in letter.error


async def test_a_redriven_letter_does_not_undo_what_its_user_submitted_since(bench: Rig) -> None:
    early, late = submission("ann", 1, 2), submission("ann", 1, 9)
    other = submission("ann", 2, 3)
    await bench.write([(b"ann", future(early)), (b"ann", future(other))])
    await bench.submit([late])
    async with bench.working():
        await bench.stored({("ann", 1): 9})
        letters = await eventually(lambda: of(bench, 2))
        assert {letter.reason for letter in letters} == {"UNKNOWN_SCHEMA_VERSION"}
        # The next release knows version 2: here, the letters go back as version 1.
        for letter, wish in zip(letters, (early, other), strict=True):
            headers = dead_letters.redrive_headers(letter.headers)
            await bench.producer.send(bench.topic, letter.key, encode(wish), headers)
        await bench.stored({("ann", 1): 9, ("ann", 2): 3})


async def test_letters_can_be_redriven_one_by_one_or_all_and_are_then_done(bench: Rig) -> None:
    await dlq.redrive(bench.kafka, bench.producer)
    await bench.write([(b"ann", b"\xff one"), (b"ann", b"\xff two")])
    async with bench.working():
        letters = await eventually(lambda: of(bench, 2))
        assert await dlq.redrive(bench.kafka, bench.producer, [letters[0].id]) == letters[:1]
        # Still no message, so it comes back as another letter, with its place of old.
        letters = await eventually(lambda: of(bench, 3))
        assert letters[2].headers[dead_letters.OFFSET] == letters[0].headers[dead_letters.OFFSET]
        await dlq.redrive(bench.kafka, bench.producer)
        await eventually(lambda: of(bench, 6))
    left = [
        letter for letter in await dlq.read(bench.kafka) if letter.headers[dead_letters.TOPIC] == bench.topic
    ]
    assert len(left) == 3
    with pytest.raises(dlq.UnknownLetter, match="9:9"):
        await dlq.redrive(bench.kafka, bench.producer, ["9:9"])


async def test_a_bad_release_stops_the_worker_before_it_drains_the_topic(bench: Rig) -> None:
    await bench.submit([submission("ann", 1, 5)])
    async with bench.working(bench.worker(batch=20, dead_letter_count=10)) as worker:
        await bench.stored({("ann", 1): 5})
        wishes = [submission(f"user{i}", 1, 5) for i in range(200)]
        await bench.write([(wish.user.encode(), future(wish)) for wish in wishes])
        await eventually(lambda: stopped(worker))
        with pytest.raises(RuntimeError, match="UNKNOWN_SCHEMA_VERSION"):
            await worker.ping()
        assert len(await of(bench, 0)) <= 10
    # A release that bears them finds all that was left.
    async with bench.working(bench.worker(dead_letter_count=1000)):
        await eventually(lambda: of(bench, 200))


async def test_a_topic_that_was_made_anew_stops_the_worker_until_the_epoch_is_raised(bench: Rig) -> None:
    await bench.submit([submission("ann", 1, 5), submission("ann", 1, 6)])
    async with bench.working():
        await bench.stored({("ann", 1): 6})
    admin = AdminClient({"bootstrap.servers": bench.kafka.bootstrap})
    await asyncio.wrap_future(admin.delete_topics([bench.topic])[bench.topic])
    await eventually(lambda: bench.topic not in admin.list_topics(timeout=5).topics)
    await ensure_topics(bench.kafka, [Topic(bench.topic, bench.partitions)])
    await eventually(lambda: bench.topic in admin.list_topics(timeout=5).topics)
    await bench.submit([submission("ann", 1, 9)])
    async with bench.working() as worker:
        await eventually(lambda: stopped(worker))
        with pytest.raises(RuntimeError, match="MARQUEE_RATING_LOG_EPOCH to 2"):
            await worker.ping()
    # Offset 0 of the new topic is later than offset 1 of the old one.
    async with bench.working(bench.worker(log=LogConfig(epoch=2))):
        await bench.stored({("ann", 1): 9})
    async with bench.working(bench.worker(log=LogConfig(epoch=1))) as worker:
        await eventually(lambda: stopped(worker))
        with pytest.raises(RuntimeError, match="already in epoch 2"):
            await worker.ping()


async def test_dealt_with_writes_leave_redis_also_if_they_were_repeats(bench: Rig) -> None:
    from rating_svc.cache import Named, Pending

    user = f"user-{uuid.uuid4()}"
    first = submission(user, 1, 5)
    await bench.submit([first, first])
    await bench.pending.put(user, [Named(1, Pending(Position(1, 1), 5, first.submit_us), None)])
    worker = bench.worker()
    async with bench.working(worker):
        await bench.stored({(user, 1): 5})

        async def cleared() -> bool:
            await worker._settling.sweep()
            return not await bench.redis.exists(f"rating:pending:{{{user}}}")

        await eventually(cleared)


async def of(bench: Rig, at_least: int) -> list[dlq.Letter]:
    """The dead letters of the rig's topic, if there are that many."""
    found = await dlq.read(bench.kafka, redriven=True)
    letters = [letter for letter in found if letter.headers.get(dead_letters.TOPIC) == bench.topic]
    return letters if len(letters) >= at_least else []


async def stopped(worker: object) -> bool:
    try:
        await worker.ping()  # type: ignore[attr-defined]
    except RuntimeError:
        return True
    return False


def future(wish: Submission) -> bytes:
    """The event as a release would write it that this one does not know."""
    return b"\x08\x02" + encode(wish).removeprefix(b"\x08\x01")
