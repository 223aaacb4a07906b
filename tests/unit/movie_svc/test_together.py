"""What is asked for at the same time is asked for once, and together."""

import asyncio

import pytest

from movie_svc.asking.single_flight import SingleFlight
from movie_svc.caching.batches import Batches


async def test_what_comes_in_one_turn_goes_in_one_batch() -> None:
    seen: list[list[int]] = []

    async def work(batch: list[int]) -> None:
        seen.append(batch)

    batches = Batches(work, at_once=2, largest=100)
    for number in range(10):
        batches.add([number])
    await asyncio.sleep(0.01)
    assert seen == [list(range(10))]
    batches.add([])
    await asyncio.sleep(0.01)
    assert len(seen) == 1


async def test_while_as_many_as_allowed_are_under_way_the_rest_collects() -> None:
    seen: list[list[int]] = []
    gate = asyncio.Event()

    async def work(batch: list[int]) -> None:
        seen.append(batch)
        await gate.wait()

    batches = Batches(work, at_once=2, largest=3)
    for number in range(8):
        batches.add([number])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [len(batch) for batch in seen] == [1, 1]
    gate.set()
    await asyncio.sleep(0.01)
    assert sorted(number for batch in seen for number in batch) == list(range(8))
    assert [len(batch) for batch in seen[2:]] == [3, 3]


async def test_all_who_ask_meanwhile_get_the_same_answer() -> None:
    flights: SingleFlight[int] = SingleFlight()
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.02)
        return asked

    assert await asyncio.gather(*(flights.join("key", ask, 60) for _ in range(100))) == [1] * 100
    assert await flights.join("key", ask, 60) == 2
    assert await asyncio.gather(flights.join("key", ask, 60), flights.join("other", ask, 60)) == [4, 4]


async def test_a_caller_that_leaves_does_not_end_the_flight_of_the_others() -> None:
    flights: SingleFlight[str] = SingleFlight()
    gate = asyncio.Event()

    async def ask() -> str:
        await gate.wait()
        return "answer"

    patient = asyncio.create_task(flights.join("key", ask, 60))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await flights.join("key", ask, 0.01)
    leaving = asyncio.create_task(flights.join("key", ask, 60))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set()
    assert await patient == "answer"


async def test_an_error_goes_to_all_and_is_not_kept() -> None:
    flights: SingleFlight[str] = SingleFlight()
    times = 0

    async def ask() -> str:
        nonlocal times
        times += 1
        await asyncio.sleep(0.01)
        if times == 1:
            raise ValueError("once")
        return "answer"

    results = await asyncio.gather(*(flights.join("key", ask, 60) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 5
    assert await flights.join("key", ask, 60) == "answer"
