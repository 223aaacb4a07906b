"""What a user sees: rows of the database with the writes laid over that are not in it yet.

A write that stands later in the log than the row is what counts, and is
PENDING; a row that is as late as the write, or later, has it, and is ACTIVE.
So is a row that the workers have left as it is although they are past the
write: it repeated a request that had taken effect before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rating_svc.cache import PendingWrite
from rating_svc.store import Row


@dataclass(frozen=True, slots=True)
class Shown:
    """A rating as its author sees it."""

    movie: int
    score: int
    pending: bool
    create_us: int | None
    """When it was first rated, in microseconds since 1970; None while that is not known."""
    update_us: int


def current(movie: int, row: Row | None, pending: PendingWrite | None) -> Shown | None:
    """A user's rating of a movie; None if there is none, or it was deleted."""
    if pending is not None and (row is None or (row.position < pending.position and not pending.settled)):
        if pending.score is None:
            return None
        created = None if row is None else row.create_us
        return Shown(movie, pending.score, True, created, pending.submit_us)
    if row is None or row.score is None:
        return None
    return Shown(movie, row.score, False, row.create_us, row.update_us)


def page(
    rows: Iterable[Row],
    pending: Mapping[int, PendingWrite],
    pending_rows: Mapping[int, Row],
    before: tuple[int, int] | None,
    scores: tuple[int, int],
) -> list[Shown]:
    """A page's candidates, the last changed first.

    Args:
        rows: a page of rows of movies without pending writes, already filtered.
        pending: the pending writes by movie.
        pending_rows: those movies' rows.
        before: (microseconds since 1970, movie) of the last of the page before.
        scores: the lowest and the highest score to list.
    """
    lowest, highest = scores
    found = [_of_row(row) for row in rows]
    for movie, write in pending.items():
        shown = current(movie, pending_rows.get(movie), write)
        if shown is None or not lowest <= shown.score <= highest:
            continue
        if before is None or (shown.update_us, shown.movie) < before:
            found.append(shown)
    found.sort(key=lambda shown: (shown.update_us, shown.movie), reverse=True)
    return found


def in_order(
    rows: Sequence[Row], pending: Mapping[int, PendingWrite], after: int, until: int | None
) -> list[Shown]:
    """A portion of a user's ratings in the order of movies: in (after, until], or all behind `after`."""
    by_movie = {row.movie: row for row in rows}
    movies = by_movie.keys() | {m for m in pending if m > after and (until is None or m <= until)}
    found = (current(movie, by_movie.get(movie), pending.get(movie)) for movie in sorted(movies))
    return [shown for shown in found if shown is not None]


def _of_row(row: Row) -> Shown:
    assert row.score is not None
    return Shown(row.movie, row.score, False, row.create_us, row.update_us)
