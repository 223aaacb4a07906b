"""What a pod of the edge does before it ends: no client that keeps its connection open loses a call."""

import asyncio
import sys

from tests.support.edge.mesh import Edge, running_edge
from tests.support.ports import free_port

MOVIE = "/v1/movies/tt0111161"


async def drain(admin: str, seconds: float) -> asyncio.subprocess.Process:
    """As preStop runs it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge.drain", f"--admin={admin}", f"--seconds={seconds}"),
        stderr=asyncio.subprocess.PIPE,
    )


async def told_to_leave(edge: Edge) -> bool:
    answer = await edge.http.get(MOVIE)
    assert answer.status_code == 200
    return answer.headers.get("connection") == "close"


async def test_clients_are_served_and_sent_elsewhere_for_as_long_as_it_takes() -> None:
    async with running_edge() as edge:
        assert not await told_to_leave(edge)
        leaving = await drain(edge.admin.removeprefix("http://"), 3)
        answers = []
        while leaving.returncode is None:
            answers.append(await told_to_leave(edge))
            await asyncio.sleep(0.05)
        assert leaving.returncode == 0
        # Each on a connection of its own from the moment that Envoy has heard, and all were served.
        assert answers[-1]
        assert answers == sorted(answers)


async def test_without_an_answer_of_envoy_it_waits_nevertheless_and_says_so() -> None:
    began = asyncio.get_running_loop().time()
    leaving = await drain(f"127.0.0.1:{free_port()}", 1)
    _, said = await leaving.communicate()
    assert leaving.returncode == 1
    assert b"does not answer" in said
    assert asyncio.get_running_loop().time() - began >= 1
