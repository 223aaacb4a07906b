"""What a user sees while writes are on their way: the later in the log wins, page by page."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from rating_svc import merge
from rating_svc.cache import PendingWrite
from rating_svc.merge import Shown
from rating_svc.store import Row
from rating_svc.submissions import Position

MOVIES = range(1, 9)

positions = st.builds(Position, st.just(1), st.integers(0, 20))
scores = st.one_of(st.none(), st.integers(1, 10))
times = st.integers(1, 30)
rows = st.dictionaries(st.sampled_from(MOVIES), st.tuples(scores, times, positions), max_size=8).map(
    lambda found: {
        movie: Row(movie, score, at, at, position) for movie, (score, at, position) in found.items()
    }
)
pendings = st.lists(
    st.builds(PendingWrite, st.sampled_from(MOVIES), scores, positions, times),
    max_size=8,
    unique_by=lambda write: write.movie,
).map(lambda writes: {write.movie: write for write in writes})
ranges = st.tuples(st.integers(1, 10), st.integers(1, 10)).map(lambda pair: (min(pair), max(pair)))


def order(shown: Shown) -> tuple[int, int]:
    return (shown.update_us, shown.movie)


def list_page(
    table: dict[int, Row],
    pending: dict[int, PendingWrite],
    before: tuple[int, int] | None,
    limits: tuple[int, int],
    size: int,
) -> list[Shown]:
    """What ListRatings does, with the query of `store.LIST` on a dictionary."""
    low, high = limits
    others = [
        row
        for movie, row in table.items()
        if movie not in pending
        and row.score is not None
        and low <= row.score <= high
        and (before is None or (row.update_us, row.movie) < before)
    ]
    others.sort(key=lambda row: (row.update_us, row.movie), reverse=True)
    held = {movie: row for movie, row in table.items() if movie in pending}
    return merge.page(others[: size + 1], pending, held, before, limits)


@given(rows, pendings, ranges, st.integers(1, 5))
def test_the_pages_of_a_list_hold_each_rating_once_and_in_order(
    table: dict[int, Row], pending: dict[int, PendingWrite], limits: tuple[int, int], size: int
) -> None:
    expected = [
        shown
        for movie in MOVIES
        if (shown := merge.current(movie, table.get(movie), pending.get(movie))) is not None
        and limits[0] <= shown.score <= limits[1]
    ]
    expected.sort(key=order, reverse=True)
    found: list[Shown] = []
    before = None
    while True:
        page = list_page(table, pending, before, limits, size)
        found += page[:size]
        if len(page) <= size:
            break
        before = order(page[size - 1])
    assert found == expected


@given(rows, pendings, st.integers(1, 4))
def test_an_export_in_portions_holds_each_rating_once(
    table: dict[int, Row], pending: dict[int, PendingWrite], size: int
) -> None:
    found: list[Shown] = []
    after = 0
    while True:
        portion = [table[movie] for movie in sorted(table) if movie > after][:size]
        until = portion[-1].movie if len(portion) == size else None
        found += merge.in_order(portion, pending, after, until)
        if until is None:
            break
        after = until
    expected = [merge.current(movie, table.get(movie), pending.get(movie)) for movie in MOVIES]
    assert found == [shown for shown in expected if shown is not None]


def row(score: int | None, offset: int) -> Row:
    return Row(1, score, 5, 10, Position(1, offset))


def pending(score: int | None, offset: int) -> PendingWrite:
    return PendingWrite(1, score, Position(1, offset), 20)


def test_a_write_that_the_row_does_not_have_yet_is_pending_and_keeps_the_time_of_creation() -> None:
    assert merge.current(1, row(3, 7), pending(9, 8)) == Shown(1, 9, True, 5, 20)


def test_a_row_as_late_as_the_write_is_active() -> None:
    assert merge.current(1, row(9, 8), pending(9, 8)) == Shown(1, 9, False, 5, 10)


def test_a_row_that_is_later_than_the_write_wins_over_it() -> None:
    assert merge.current(1, row(3, 9), pending(9, 8)) == Shown(1, 3, False, 5, 10)


def test_a_row_that_the_workers_left_earlier_than_a_write_is_what_counts() -> None:
    """The write repeated a request that had taken effect before, maybe with others after it."""
    for score, earlier in ((9, 9), (9, 3), (None, 3)):
        write = dataclasses.replace(pending(score, 8), settled=True)
        assert merge.current(1, row(earlier, 7), write) == Shown(1, earlier, False, 5, 10)
    # Without a row, nothing was made of it: it waits among the dead letters.
    assert merge.current(1, None, dataclasses.replace(pending(9, 8), settled=True)) == Shown(
        1, 9, True, None, 20
    )


def test_what_was_taken_back_is_gone_at_once_and_stays_gone() -> None:
    assert merge.current(1, row(3, 7), pending(None, 8)) is None
    assert merge.current(1, row(None, 8), pending(3, 7)) is None
    assert merge.current(1, None, pending(None, 8)) is None


def test_a_write_of_a_new_life_of_the_log_wins_over_any_row_of_the_old_one() -> None:
    assert merge.current(1, row(3, 1000), PendingWrite(1, 9, Position(2, 0), 20)) == Shown(1, 9, True, 5, 20)


def test_a_portion_of_an_export_ends_with_the_last_of_its_movies() -> None:
    writes = {movie: pending(9, 8) for movie in (4, 5, 6)}
    assert [shown.movie for shown in merge.in_order([], writes, 4, 5)] == [5]
    assert [shown.movie for shown in merge.in_order([], writes, 4, None)] == [5, 6]
