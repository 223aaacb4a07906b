"""Free ports."""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

# Below what stacks take (`local.stack.layout`) and what the kernel gives to outgoing connections. Test
# processes that run side by side have ports of their own: one is free only until somebody else asks.
_RANGE: Final = range(10_000, 20_000)
_PROCESSES: Final = 8


def free_port() -> int:
    """A port on the loopback that nobody listens on; another one at each call, until all were returned."""
    return next(_free)


def _in_turn() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = _RANGE[worker::_PROCESSES]
    for port in itertools.cycle(random.sample(own, len(own))):
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


_free: Final = _in_turn()
