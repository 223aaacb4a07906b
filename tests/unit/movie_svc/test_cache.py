"""The in-process cache: bounded, and never older than what Redis has told."""

from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import clock
from mesh.errors import MarqueeError, unavailable
from mesh.switches import EARLY_REFRESH
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.asking.refresh import Refresher
from movie_svc.caching.cache import L1
from movie_svc.caching.renewal import Renewal
from movie_svc.config import CacheConfig, FreshnessConfig, OmdbConfig
from movie_svc.omdb.outcome import Absent
from movie_svc.storing.entries import Entry, unpacked


def entry(data: bytes = b"data", fresh_until: float = 0.0) -> Entry:
    return Entry(data, "0123456789abcdef", 1, 0.0, fresh_until)


def cache(**settings: float) -> L1:
    made = L1(CacheConfig(**settings))  # type: ignore[arg-type]
    made.track(True)
    return made


def put(l1: L1, number: int, value: Entry) -> None:
    begun = l1.begin_fill()
    l1.put(number, value, begun)
    l1.end_fill()


def test_what_was_put_is_there() -> None:
    l1 = cache()
    put(l1, 1, entry())
    assert l1.get(1) == entry()
    assert l1.get(2) is None


def test_the_size_is_bounded_and_the_least_recently_used_goes_first() -> None:
    l1 = cache(l1_bytes=8_000)
    for number in range(10):
        put(l1, number, entry(bytes(500)))
        l1.get(0)
    assert l1.get(0) is not None
    assert l1.get(1) is None
    assert l1.get(9) is not None
    assert l1.size_bytes <= 8_000


def test_an_entry_larger_than_the_cache_is_not_kept() -> None:
    l1 = cache(l1_bytes=1000)
    put(l1, 1, entry(bytes(100)))
    put(l1, 2, entry(bytes(5000)))
    assert l1.get(1) is not None
    assert l1.get(2) is None


def test_a_change_drops_the_entry() -> None:
    l1 = cache()
    put(l1, 1, entry())
    put(l1, 2, entry())
    l1.invalidate([1])
    assert l1.get(1) is None
    assert l1.get(2) is not None


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    l1 = cache()
    begun = l1.begin_fill()
    l1.invalidate([1])
    l1.put(1, entry(b"old"), begun)
    l1.put(2, entry(b"other"), begun)
    l1.end_fill()
    assert l1.get(1) is None
    assert l1.get(2) is not None
    put(l1, 1, entry(b"new"))
    assert l1.get(1) == entry(b"new")


def test_what_was_read_before_the_connection_was_lost_is_not_kept() -> None:
    l1 = cache()
    begun = l1.begin_fill()
    l1.track(False)
    l1.put(1, entry(), begun)
    l1.end_fill()
    assert l1.get(1) is None


def test_losing_redis_drops_everything() -> None:
    l1 = cache()
    put(l1, 1, entry())
    l1.track(False)
    assert l1.get(1) is None
    assert (len(l1), l1.size_bytes) == (0, 0)


def test_entries_end_with_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("movie_svc.caching.cache.time.monotonic", lambda: now)
    l1 = cache(l1_ttl_s=100, l1_untracked_ttl_s=5)
    put(l1, 1, entry())
    now += 89
    assert l1.get(1) is not None
    now += 22
    assert l1.get(1) is None
    l1.track(False)
    put(l1, 1, entry())
    now += 4
    assert l1.get(1) is not None
    now += 2
    assert l1.get(1) is None


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2000)), max_size=60))
def test_the_size_is_always_the_sum(puts: list[tuple[int, int]]) -> None:
    l1 = cache(l1_bytes=10_000)
    for number, size in puts:
        put(l1, number, entry(bytes(size)))
        assert l1.size_bytes <= 10_000
    kept = [l1.get(number) for number in range(21)]
    assert l1.size_bytes == sum(len(e.data) + 400 for e in kept if e is not None)


def test_what_is_read_shortly_before_its_end_is_had_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("movie_svc.caching.cache.time.monotonic", lambda: now)
    monkeypatch.setattr("movie_svc.caching.cache.spread", lambda seconds: seconds)
    l1 = cache(l1_ttl_s=100)
    renewed: list[int] = []
    l1.when_ending(renewed.append)
    for number in range(1000):
        put(l1, number, entry())
    now += 80
    assert all(l1.get(number) is not None for number in range(1000))
    assert len(renewed) < 5, "it is far too early"
    now += 19.99
    assert all(l1.get(number) is not None for number in range(1000)), "nobody waits"
    assert len(renewed) > 900
    for number in range(1000):
        l1.get(number)
    assert sorted(set(renewed)) == sorted(renewed)


def test_what_this_process_wrote_is_read_again_once_redis_has_told_of_it() -> None:
    l1 = cache()
    renewed: list[int] = []
    l1.when_ending(renewed.append)
    put(l1, 1, entry())
    l1.will_write([1])
    l1.invalidate([1, 2])
    assert l1.get(1) is None, "somebody else may have written it as well"
    assert renewed == [1]
    l1.invalidate([1])
    assert renewed == [1], "a change by others is read when it is wanted"


def test_the_source_is_asked_again_somewhat_early_and_not_by_all_at_once() -> None:
    hour = Entry(b"data", "", 1, fetched_at=0, fresh_until=3600)
    at = {now: sum(hour.is_due(now) for _ in range(1000)) for now in (1800, 3500, 3601)}
    assert at[1800] == 0
    assert 0 < at[3500] < 1000
    assert at[3601] == 1000
    assert hour.nears_its_end(3500)
    assert not hour.nears_its_end(1800)
    assert not Entry(b"", "", 0, fetched_at=0, fresh_until=1).is_due(2), "an absence is not looked into"


@given(st.binary(max_size=200), st.integers(0, 3), *[st.floats(0, 2e9)] * 3)
def test_packing_loses_nothing(data: bytes, source: int, fetched: float, fresh: float, kept: float) -> None:
    packed = Entry(data, "0123456789abcdef", source, fetched, fresh)
    assert unpacked(packed.packed(kept)) == (packed, kept)


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x01" + bytes(100)])
def test_what_another_release_packed_is_a_miss(raw: bytes) -> None:
    assert unpacked(raw) is None


def test_fills_that_overlap_for_ever_cost_no_memory() -> None:
    l1 = cache()
    begun = l1.begin_fill()
    for number in range(200_000):
        l1.begin_fill()  # before the one before has ended: there is always one under way
        l1.invalidate([number])
        l1.end_fill()
    assert len(l1._changed) <= 10_000
    # And no fill keeps what has changed under it, remembered or not.
    for number in (0, 100_000, 199_999):
        l1.put(number, entry(), begun)
        assert l1.get(number) is None
    put(l1, 0, entry())
    assert l1.get(0) is not None


async def test_a_fill_ends_where_the_primary_goes_away_meanwhile() -> None:
    """Else what changes would be noted forever, as if a fill were always under way."""
    l1 = L1(CacheConfig())
    store = AsyncMock()
    store.get_many.side_effect = unavailable("DATABASE_UNAVAILABLE", "away", retry_after=1)
    answers = OmdbAnswers(l1, Mock(), store, Mock(), FreshnessConfig())
    with pytest.raises(MarqueeError):
        await answers.keep(1, Absent("Error getting data."), clock.utc_now())
    assert l1._fills == 0


async def test_nothing_is_renewed_early_while_that_is_switched_off() -> None:
    l1 = cache(l1_ttl_s=600)
    redis, store = Mock(), Mock()
    redis.get_many = AsyncMock(return_value={1: entry(b"new")})
    renewal = Renewal(l1, redis, store)
    put(l1, 1, entry(b"old"))
    (kept,) = l1._entries.values()
    kept.renew_at = 0.0  # it is time
    EARLY_REFRESH.turn(False)
    try:
        assert l1.get(1) == entry(b"old")
        await renewal.settled()
        redis.get_many.assert_not_awaited()
        (when_redis_ends,) = redis.when_ending.call_args.args
        when_redis_ends(1, b"raw")
        await renewal.settled()
        assert not store.get_many.called
    finally:
        EARLY_REFRESH.turn(True)
    kept.renew_at = 0.0
    assert l1.get(1) == entry(b"old")
    await renewal.settled()
    redis.get_many.assert_awaited()


@pytest.mark.parametrize(("on", "early"), [(True, True), (False, False)])
async def test_omdb_is_asked_again_early_only_while_that_is_switched_on(on: bool, early: bool) -> None:
    now = clock.now()
    nearly_over = Entry(b"data", "0123456789abcdef", 1, now - 1000, now + 10)
    over = Entry(b"data", "0123456789abcdef", 1, now - 1000, now - 10)
    store, omdb = AsyncMock(), Mock(answers_now=True)
    store.get_many.side_effect = lambda numbers, fresh: {1: nearly_over, 2: over}
    queue = AsyncMock()
    refresher = Refresher(OmdbConfig(), store, Mock(), Mock(), omdb, queue)
    EARLY_REFRESH.turn(on)
    try:
        queue.take.side_effect = [1, None]
        store.due.return_value = [7]
        assert await refresher._next() == (1 if early else None)
        queue.take.side_effect = [2]
        assert await refresher._next() == 2
        queue.take.side_effect = [None]
        assert await refresher._next() == (7 if early else None), "what nobody has read"
    finally:
        EARLY_REFRESH.turn(True)
