"""Which transactions' changes a server must still ask for.

Every row says which transaction changed it last. Transactions end in another
order than they begin in, so what is asked for next starts at the oldest that
was under way: PostgreSQL's `xmin`. That one may be anybody's, and run for hours.
Two things keep what is read again small then. A transaction of which one row
was seen has ended, and all its rows were there to be read with that one: it is
not asked for again. And ranking_svc's own transactions are ended by the server
after `TRANSACTION_TIMEOUT_S`: what began long before that has ended.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

TRANSACTION_TIMEOUT_S: Final = 30
"""For how long a transaction that changes what charts show may last."""

# Twice as long, since servers' clocks may differ.
_LONGEST_S: Final = 2.0 * TRANSACTION_TIMEOUT_S
_SAMPLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """The state of the database that something was read from.

    Attributes:
        life: which life of the database; later ones are greater. See migrations/0002.
        xmin: all older transactions have ended.
        xmax: this one and all younger ones have not begun.
        read_at: the server's clock, in seconds since the epoch.
        as_of: all that had ended by then is in it; None if that is not known.
    """

    life: int
    xmin: int
    xmax: int
    read_at: float
    as_of: float | None


class Horizon:
    """What is known of one life of the database.

    Attributes:
        start: older transactions have all been taken.
        seen: of the others, those that have been taken.
    """

    def __init__(self, state: State) -> None:
        self.life = state.life
        self.start = state.xmin
        self.seen: frozenset[int] = frozenset()
        self._samples: deque[tuple[float, int]] = deque()
        self._note(state)

    def took(self, state: State, changed: Iterable[int]) -> None:
        """Everything from `start` on, except `seen`, was read in this state; the rows had these changes."""
        seen = self.seen.union(changed)
        self.start = max(self.start, state.xmin)
        if state.as_of is not None:
            while self._samples and self._samples[0][0] <= state.as_of - _LONGEST_S:
                self.start = max(self.start, self._samples.popleft()[1])
        self.seen = frozenset(one for one in seen if one >= self.start)
        self._note(state)

    def _note(self, state: State) -> None:
        if not self._samples or state.read_at - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((state.read_at, state.xmax))
