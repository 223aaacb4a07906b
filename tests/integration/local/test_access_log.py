"""The edge's access log is begun again while calls come in, and no line of it is lost."""

import asyncio
import json
import urllib.request
import uuid

from local.stack.layout import Stack
from local.supervision.access_log import rotate
from tests.support.waiting import eventually


async def test_no_call_is_missing_where_the_log_was_begun_again(mesh_stack: Stack) -> None:
    name = uuid.uuid4().hex
    path = mesh_stack.home.log("access")

    def call(number: int) -> None:
        request = urllib.request.Request(f"{mesh_stack.edge_url}/v1/movies/tt0111161")
        request.add_header("User-Agent", f"{name}/{number}")
        urllib.request.urlopen(request, timeout=10).close()

    def logged() -> list[int]:
        lines = [
            line
            for file in (path.with_suffix(".log.1"), path)
            for line in (file.read_text() if file.exists() else "").splitlines()
            if name in line
        ]
        return sorted(int(json.loads(line)["user_agent"]["original"].partition("/")[2]) for line in lines)

    for number in range(20):
        await asyncio.to_thread(call, number)
        if number == 10:
            await eventually(lambda: len(logged()) > 0)
            assert not await asyncio.to_thread(rotate, mesh_stack, 1 << 40), "it is short enough"
            assert await asyncio.to_thread(rotate, mesh_stack, 1)
            older = path.with_suffix(".log.1").stat().st_size
    await eventually(lambda: logged() == list(range(20)))
    await eventually(lambda: path.stat().st_size > 0)
    assert path.with_suffix(".log.1").stat().st_size >= older
