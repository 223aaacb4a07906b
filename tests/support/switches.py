"""Parts that an operator switches off."""

import contextlib
import json
import time
from collections.abc import AsyncIterator

from local.servers import probes
from local.stack.layout import Stack
from mesh.switches import EDGE_CACHE, SWITCHES
from tests.support.waiting import eventually

_PROCESS = {"trending": "ranking_svc", "streams": "ranking_svc", EDGE_CACHE.name: "edge-controller"}


@contextlib.asynccontextmanager
async def off(stack: Stack, name: str) -> AsyncIterator[None]:
    """For the block, a part is switched off; waits until the process knows, both times."""
    assert name in {switch.name for switch in SWITCHES}

    async def becomes(value: float) -> None:
        async def is_so() -> bool:
            page = await probes.http(stack.port(_PROCESS.get(name, "movie_svc"), "metrics"), "/metrics")
            return f'marquee_switch_on{{switch="{name}"}} {value}' in page.decode()

        await eventually(is_so, 30, 0.1, what=f"{name} {value}")

    before = stack.home.flags_file.read_text()
    flags = json.loads(before)
    flags["features"].append({"name": name, "type": "kill-switch", "enabled": False, "strategies": []})
    began = time.monotonic()
    stack.home.flags_file.write_text(json.dumps(flags))
    try:
        await becomes(0.0)
        print(f"\n{name} was off {time.monotonic() - began:.1f} s after its flag")
        yield
    finally:
        stack.home.flags_file.write_text(before)
        await becomes(1.0)
