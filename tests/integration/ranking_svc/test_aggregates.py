"""Aggregates are what a recount of the ratings says, however often and in whatever order changes come."""

import asyncio
import random
from dataclasses import replace

import pytest

from mesh.kafka.retention import Retention
from mesh.kafka.topics import alter_topic
from mesh.pruning import Pruner
from ranking_svc import inbox, metrics
from ranking_svc.model import Change
from ranking_svc.trending import HALF_LIVES_S, heat, log_heat
from tests.support.batch_readers import stopped
from tests.support.rankings import NOW, Place, event, history, letters_of, name_of


async def test_every_event_twice_and_shuffled_counts_once(place: Place) -> None:
    changes, expected = history(600)
    twice = changes * 2
    random.Random(3).shuffle(twice)
    async with place.aggregating(batch=37):
        await place.send(twice)
        await place.counted()
    assert await place.histograms() == expected
    assert await place.taken() == len(changes)


async def test_a_replay_of_the_whole_topic_changes_nothing(place: Place) -> None:
    changes, expected = history(300)
    await place.send(changes)
    for group in ("first", "replay"):
        async with place.aggregating(group=f"{place.group}.{group}"):
            await place.counted(f"{place.group}.{group}")
        assert await place.histograms() == expected


async def test_consumers_that_come_and_go_count_everything_once(place: Place) -> None:
    changes, expected = history(3000, movies=300)
    async with place.aggregating(batch=20):
        await place.send(changes[:1000])
        async with place.aggregating(batch=20):
            await place.send(changes[1000:2000])
            async with place.aggregating(batch=20):
                await place.send(changes[2000:])
    async with place.aggregating(batch=20):
        await place.counted()
    assert await place.histograms() == expected


async def test_the_same_batch_in_two_transactions_at_once_counts_once(place: Place) -> None:
    changes, expected = history(400)
    shuffled = random.Random(5).sample(changes, len(changes))
    taken = await asyncio.gather(*(place.store.apply(batch) for batch in (changes, shuffled, changes)))
    assert sum(len(one.changes) for one in taken) == len(changes)
    assert await place.histograms() == expected


async def test_poison_goes_to_the_dead_letters_with_its_reason_and_blocks_nobody(place: Place) -> None:
    changes, expected = history(50)
    poison = event(replace(changes[0], event_id=10_000, new=11))
    await place.send(changes[:25])
    await place.send_raw(name_of(changes[0]), poison)
    await place.send_raw("movies/tt0000001", b"\xff\xff not a message")
    await place.send(changes[25:])
    async with place.aggregating():
        await place.counted()
    assert await place.histograms() == expected
    letters = await letters_of(place, 2)
    assert {letter.headers["marquee-reason"] for letter in letters} == {
        "SCORE_OUT_OF_RANGE",
        "MALFORMED_MESSAGE",
    }
    assert poison in [letter.value for letter in letters]
    assert all(int(letter.headers["marquee-offset"]) >= 0 for letter in letters)


async def test_too_many_dead_letters_stop_the_consumer_and_another_release_goes_on(place: Place) -> None:
    changes, expected = history(30)
    for _ in range(6):
        await place.send_raw("movies/tt0000001", b"\xff")
    async with place.aggregating(dead_limit=3) as reader:
        await stopped(reader, "too many dead letters")
        await place.send(changes)
        async with place.aggregating(dead_limit=100):
            await place.counted()
    assert await place.histograms() == expected


async def test_an_event_that_the_database_refuses_does_not_block_the_others(place: Place) -> None:
    changes, expected = history(40)
    refused = Change(10_000, 999_999_999, None, 5, NOW)
    async with place.pg.write() as connection:
        await connection.execute("ALTER TABLE scores ADD CONSTRAINT refusal CHECK (movie < 900000000)")
    try:
        await place.send([*changes[:20], refused, *changes[20:]])
        async with place.aggregating():
            await place.counted()
    finally:
        async with place.pg.write() as connection:
            await connection.execute("ALTER TABLE scores DROP CONSTRAINT refusal")
    assert await place.histograms() == expected
    (letter,) = await letters_of(place, 1)
    assert letter.headers["marquee-reason"] == "DATABASE_REFUSED"
    assert letter.value == event(refused)


async def test_heat_in_the_database_is_the_heat_of_the_votes(place: Place) -> None:
    came = [NOW - age for age in (0.0, 1.0, 90_000.0, 500_000.0, 500_000.0)]
    votes = [Change(number, 5, None, 8, at) for number, at in enumerate(came, 1)]
    await place.store.apply(votes[:2])
    await place.store.apply(votes[2:])
    rows = await place.pg.fetch("SELECT heat_day, heat_week, heat_month FROM scores", fresh=True)
    for stored, half_life in zip(rows[0], HALF_LIVES_S, strict=True):
        assert heat(stored, half_life, NOW) == pytest.approx(heat(log_heat(came, half_life), half_life, NOW))


async def test_rating_and_taking_back_over_and_over_adds_no_heat(place: Place) -> None:
    await place.store.apply([Change(1, 5, None, 8, NOW)])
    for number in range(2, 42, 2):
        at = NOW + number
        await place.store.apply([Change(number, 5, None, 9, at)])
        await place.store.apply([Change(number + 1, 5, 9, None, at + 1)])
    rows = await place.pg.fetch("SELECT heat_day, votes FROM scores", fresh=True)
    assert rows[0]["votes"] == 1
    assert heat(rows[0]["heat_day"], HALF_LIVES_S[0], NOW + 50) <= 1.0


async def test_the_inbox_forgets_what_is_old_and_keeps_what_is_not(place: Place) -> None:
    changes, _ = history(50)
    await place.store.apply(changes[:30])
    await _aged(place, 30)
    await place.store.apply(changes[30:])
    # Ids say nothing about age: the oldest ones are not the smallest.
    await place.store.apply([replace(change, event_id=1_000_000 - change.event_id) for change in changes[:5]])
    await _aged(place, 30, "event_id > 900000")
    # More of them than a transaction deletes.
    await _pruned(place, portion=20)
    assert await place.taken() == 20


async def _aged(place: Place, days: int, which: str = "true") -> None:
    async with place.pg.write() as connection:
        await connection.execute(
            f"UPDATE inbox SET taken_at = taken_at - make_interval(days => {days}) WHERE {which}"
        )


async def _pruned(place: Place, portion: int = 1000) -> None:
    rows = inbox.aged(place.queue, Retention(), place.topic)
    await Pruner(place.pg, rows, metrics.PRUNED, 60, portion).prune()


async def test_a_topic_that_holds_its_messages_for_longer_is_read_again_and_counts_nothing_twice(
    place: Place,
) -> None:
    changes, expected = history(60)
    await place.send(changes)
    async with place.aggregating():
        await place.counted()
    # Retention and a segment: a message lives for longer than the setting says.
    await alter_topic(
        place.queue, place.topic, {"retention.ms": str(7 * 86_400_000), "segment.ms": str(7 * 86_400_000)}
    )
    await _aged(place, 13)
    await _pruned(place)
    async with place.aggregating(group=f"{place.group}.again"):
        await place.counted(f"{place.group}.again")
    assert await place.histograms() == expected
    # And once none of it can be read any more, it is forgotten.
    await _aged(place, 30)
    await _pruned(place)
    assert await place.taken() == 0


async def test_a_dead_letter_redriven_twice_counts_once_however_long_it_is_between(
    place: Place,
) -> None:
    letter = Change(10_000, 5, None, 9, NOW)
    headers = {"marquee-redriven-offset": "17"}
    for round_ in range(2):
        await place.producer.send(place.topic, b"movies/tt0000005", event(letter), headers)
        async with place.aggregating():
            await place.counted()
        assert sum((await place.histograms())[5]) == 1, round_
        await _aged(place, 20)
        await _pruned(place)


async def test_limits_of_dead_letters_hold_over_processes_and_restarts(place: Place) -> None:
    for number in range(9):
        await place.send_raw(f"movies/tt{number:07d}", b"\xff")
    for _ in range(3):
        # Each takes one message at a time, and would set aside four of its own.
        async with place.aggregating(batch=1, dead_limit=4) as one:
            await stopped(one, "too many dead letters")
    assert await place.pg.fetchval("SELECT count(*) FROM dead_letters", fresh=True) == 4
