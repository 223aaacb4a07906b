"""What is asked for at the same time is asked for once, and together."""

import asyncio

import pytest

from mesh.single_flight import SingleFlight
from mesh.together import Batches, Turn


async def test_what_is_added_in_one_turn_goes_to_one_task_unless_it_is_too_much() -> None:
    seen: list[list[int]] = []

    async def work(numbers: list[int]) -> None:
        await asyncio.sleep(0)
        seen.append(numbers)

    turn = Turn(work, largest=8)
    for number in range(8):
        turn.add(number)
    await turn.settled()
    assert seen == [list(range(8))]
    for number in range(10):
        turn.add(number)
    await turn.settled()
    assert seen[1:] == [list(range(8)), [8, 9]]


async def test_what_is_loaded_in_one_turn_goes_together_and_the_rest_collects_while_there_is_no_room() -> (
    None
):
    seen: list[list[int]] = []
    gate = asyncio.Event()

    async def read(batch: list[int]) -> list[int]:
        seen.append(batch)
        await gate.wait()
        return batch

    batches = Batches(read, at_once=2, largest=3)
    loads = [asyncio.create_task(batches.load([number])) for number in (0, 1)]
    while not seen:
        await asyncio.sleep(0)
    loads += [asyncio.create_task(batches.load([number])) for number in range(2, 8)]
    while len(seen) < 2:
        await asyncio.sleep(0)
    assert seen == [[0, 1], [2, 3, 4]]
    gate.set()
    assert await asyncio.gather(*loads) == [*2 * [[0, 1]], *3 * [[2, 3, 4]], *3 * [[5, 6, 7]]]


async def test_what_comes_while_a_batch_is_alone_goes_together_though_there_is_room() -> None:
    seen: list[list[int]] = []
    gate = asyncio.Event()

    async def read(batch: list[int]) -> list[int]:
        seen.append(batch)
        await gate.wait()
        return batch

    batches = Batches(read, at_once=9, largest=9, alone_s=3600)
    loads = [asyncio.create_task(batches.load([0]))]
    while not seen:
        await asyncio.sleep(0)
    for number in (1, 2, 3):
        loads.append(asyncio.create_task(batches.load([number])))
        await asyncio.sleep(0.001)
    assert seen == [[0]]
    gate.set()
    assert await asyncio.gather(*loads) == [[0], *3 * [[1, 2, 3]]]
    # Nothing is under way any more: the next one waits for nobody.
    assert await batches.load([4]) == [4]


async def test_a_batch_that_hangs_holds_up_the_next_one_for_a_moment_only() -> None:
    hangs = asyncio.Event()

    async def read(batch: list[int]) -> list[int]:
        if batch[0] == 0:
            hangs.set()
            await asyncio.Event().wait()
        return batch

    batches = Batches(read, at_once=2, largest=9, alone_s=0.01)
    hanging = asyncio.create_task(batches.load([0]))
    await hangs.wait()
    for number in (1, 2, 3):
        assert await batches.load([number]) == [number]
    hanging.cancel()


async def test_one_who_leaves_ends_nobody_elses_load() -> None:
    gate = asyncio.Event()

    async def read(batch: list[int]) -> list[int]:
        await gate.wait()
        return batch

    batches = Batches(read, at_once=1, largest=3)
    leaving, staying, later = (asyncio.create_task(batches.load([number])) for number in range(3))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    gate.set()
    assert list(await asyncio.gather(staying, later)) == 2 * [[0, 1, 2]]


async def test_what_one_loads_stays_together_however_much_it_is() -> None:
    seen: list[list[int]] = []

    async def read(batch: list[int]) -> None:
        await asyncio.sleep(0)
        seen.append(batch)

    batches = Batches(read, at_once=1, largest=3)
    await asyncio.gather(*(batches.load(numbers) for numbers in ([1, 2], [3, 4], [5], [6, 7, 8, 9])))
    assert seen == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]


async def test_an_error_of_a_batch_goes_to_all_who_loaded_it_and_ends_nothing_else() -> None:
    async def read(batch: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if batch[0] == 1:
            raise ValueError("the first two")
        return batch

    batches = Batches(read, at_once=1, largest=2)
    found = await asyncio.gather(*(batches.load([n]) for n in (1, 2, 3, 4, 5)), return_exceptions=True)
    assert [type(each) for each in found] == [ValueError, ValueError, list, list, list]


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
    assert await asyncio.gather(flights.join("key", ask, 60), flights.join("other", ask, 60)) == [4, 4]  # type: ignore[comparison-overlap]


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
