"""How long to wait before something is tried again.

This is for loops that go on forever, whose pauses are short again once it worked.
Who calls one thing again until it succeeds, or gives up after so many times, uses
the library `stamina`.
"""

import asyncio
import random
from typing import Final

_SPREAD: Final = 0.5


class Backoff:
    """Ever longer pauses, each shortened by chance, so that those who fail together don't return together."""

    def __init__(self, first_s: float = 0.2, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def reset(self) -> None:
        """It worked: the next pause is the shortest again."""
        self._next_s = self._first_s

    def pause_s(self) -> float:
        """The next pause, in seconds."""
        pause = self._next_s
        self._next_s = min(pause * 2, self._most_s)
        return pause * random.uniform(_SPREAD, 1.0)  # noqa: S311

    async def rest(self) -> None:
        """Waits for the next pause."""
        await asyncio.sleep(self.pause_s())
