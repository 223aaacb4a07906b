"""Ending tasks surely."""

import asyncio

from mesh.tasks import end


async def test_tasks_end_at_once() -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end([task])
    assert task.cancelled()


async def test_a_loop_that_loses_a_cancellation_ends_all_the_same() -> None:
    lost = 0

    async def loses_the_first() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end([task])
    assert lost == 2


async def test_what_has_failed_or_ended_is_no_trouble() -> None:
    async def fails() -> None:
        raise ValueError("expected")

    tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)
    await end(tasks)
    await end([])
    assert isinstance(tasks[0].exception(), ValueError)
