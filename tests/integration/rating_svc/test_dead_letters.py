"""What can not be stored goes to the dead letters with its reason, and can be sent again."""

import pytest

from mesh.kafka import dead_letters as every
from rating_svc import dead_letters, dlq
from rating_svc.submissions import Submission, encode
from tests.support.ratings_rig import Rig, submission
from tests.support.waiting import eventually


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
    assert [letter.headers[every.OFFSET] for letter in letters] == ["1", "2"]
    assert letters[0].value == b"\xff not a message"
    assert "titles/" in dlq.shown(letters[1])


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
        assert letters[2].headers[every.OFFSET] == letters[0].headers[every.OFFSET]
        await dlq.redrive(bench.kafka, bench.producer)
        await eventually(lambda: of(bench, 5))
        # It was sent again already: a second time is refused.
        with pytest.raises(dlq.UnknownLetter, match="sent again or discarded already"):
            await dlq.redrive(bench.kafka, bench.producer, [letters[0].id])
    left = [letter for letter in await dlq.read(bench.kafka) if letter.headers[every.TOPIC] == bench.topic]
    assert len(left) == 2
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


async def test_a_late_repeat_does_not_keep_a_dead_letter_from_being_redriven(bench: Rig) -> None:
    first, dead = submission("ann", 1, 5), submission("ann", 1, 9)
    await bench.submit([first])
    await bench.write([(b"ann", future(dead))])
    await bench.submit([first])
    async with bench.working():
        (letter,) = await eventually(lambda: of(bench, 1))
        await bench.drained()
        assert await bench.scores() == {("ann", 1): 5}
        headers = dead_letters.redrive_headers(letter.headers)
        await bench.producer.send(bench.topic, letter.key, encode(dead), headers)
        await bench.stored({("ann", 1): 9})
        # And once more, when its identity is long forgotten: it stands where it stood.
        await bench.submit([submission("ann", 1, 2)])
        await bench.stored({("ann", 1): 2})
        await bench.fetch("DELETE FROM seen_requests")
        await bench.producer.send(bench.topic, letter.key, encode(dead), headers)
        await bench.drained()
    assert await bench.scores() == {("ann", 1): 2}
    assert await bench.events() == [(1, None, 5), (1, 5, 9), (1, 9, 2)]


async def of(bench: Rig, at_least: int) -> list[dlq.Letter]:
    """The dead letters of the rig's topic, if there are that many."""
    found = await dlq.read(bench.kafka, redriven=True)
    letters = [letter for letter in found if letter.headers.get(every.TOPIC) == bench.topic]
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
