"""What is known of a movie here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

SCORES: Final = range(1, 11)

Histogram = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """A movie's aggregate.

    Attributes:
        histogram: ten counts: how many gave 1, 2, … 10.
        heat: log heat over a day, a week, a month; see `trending`.
        update_time: when the last vote was counted, in seconds since the epoch.
        changed: the transaction that changed it last.
        version: of two copies within one life of the database, the newer one has the greater.
        life: the life of the database that it was read from; see `horizon.State`.
    """

    movie: int
    votes: int
    total: int
    histogram: Histogram
    heat: tuple[float, float, float]
    update_time: float
    changed: int
    version: int = 0
    life: int = 0


class Counted(NamedTuple):
    """A movie's counts, and which version of the aggregate they are."""

    version: int
    counts: Histogram


@dataclass(frozen=True, slots=True)
class Facts:
    """What charts show of a movie; `type` is a number of movies.v1.MovieType. The rest as in `Tally`."""

    movie: int
    title: str
    year: int | None
    type: int
    genres: tuple[str, ...]
    box_office_usd: int | None
    changed: int = 0
    version: int = 0
    life: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One rating's change: a valid RatingChanged event.

    Attributes:
        old: the score before; None if there was none.
        new: the score now; None if it was deleted.
        time: when the user submitted it, in seconds since the epoch.
        redriven: whether it is a dead letter that was sent again.
    """

    event_id: int
    movie: int
    old: int | None
    new: int | None
    time: float
    redriven: bool = False


@dataclass(slots=True)
class Delta:
    """What a batch changes in one movie's aggregate."""

    counts: list[int] = field(default_factory=lambda: [0] * len(SCORES))
    came: list[float] = field(default_factory=list)
    went: list[float] = field(default_factory=list)


def deltas(changes: Iterable[Change]) -> dict[int, Delta]:
    """Sums changes up: one delta a movie, in ascending order of the movies."""
    summed: dict[int, Delta] = {}
    for change in changes:
        delta = summed.get(change.movie)
        if delta is None:
            delta = summed[change.movie] = Delta()
        if change.old is not None:
            delta.counts[change.old - 1] -= 1
        if change.new is not None:
            delta.counts[change.new - 1] += 1
        if change.old is None:
            delta.came.append(change.time)
        elif change.new is None:
            delta.went.append(change.time)
    return dict(sorted(summed.items()))
