"""Ports that nobody else on this machine draws from: two stacks that start at the same time never share one.

A port that was found free is taken only when its process listens, which may be half a minute later.
"""

import random
import socket
from collections.abc import Iterator, Sequence
from typing import Final

_SIZE: Final = 300
"""Ports in a section: enough for the largest stack."""

# Held for as long as this process lives; the kernel lets go of them at its end, however it ends.
_held: Final[dict[int, socket.socket]] = {}


def own(ports: Sequence[int]) -> Iterator[int]:
    """Ports in no order: those of a section that this process alone draws from, then of the next such one.

    Where all sections are other processes', all ports.
    """
    sections = [ports[at : at + _SIZE] for at in range(0, len(ports), _SIZE)]
    others = [section[0] for section in sections if section[0] not in _held]
    for first in [*_held, *random.sample(others, len(others))]:
        section = next((each for each in sections if each[0] == first), ())
        if section and _hold(first):
            yield from random.sample(section, len(section))
    yield from random.sample(ports, len(ports))


def _hold(first: int) -> bool:
    """Takes the section that begins with this port, unless another process has it."""
    if first in _held:
        return True
    mark = socket.socket(socket.AF_UNIX)
    try:
        # An abstract name: no file that could be left behind or be another user's.
        mark.bind(f"\0marquee-ports-{first}")
    except OSError:
        mark.close()
        return False
    _held[first] = mark
    return True
