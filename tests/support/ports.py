"""Free ports."""

import os
import random
import socket
from typing import Final

# Below what stacks take (`local.stack.layout`) and what the kernel gives to outgoing connections. Test
# processes that run side by side have ports of their own: one is free only until somebody else asks.
_RANGE: Final = range(10_000, 20_000)
_PROCESSES: Final = 8


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    own = _RANGE[worker::_PROCESSES]
    while True:
        port = random.choice(own)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
