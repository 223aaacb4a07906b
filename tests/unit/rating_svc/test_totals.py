"""The counts of several databases, added up while they come."""

from collections import Counter
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from rating_svc.store import Portion
from rating_svc.totals import added

counts = st.dictionaries(st.integers(1, 30), st.integers(1, 100), max_size=20)


async def portions(counted: dict[int, int], size: int) -> AsyncIterator[Portion]:
    every = sorted(counted.items())
    for start in range(0, len(every), size):
        yield [(movie, [count, 1]) for movie, count in every[start : start + size]]


@given(st.lists(counts, min_size=1, max_size=4), st.integers(1, 5))
async def test_each_movie_comes_once_in_order_with_the_sum(
    databases: list[dict[int, int]], size: int
) -> None:
    found = [
        counted async for part in added([portions(each, size) for each in databases]) for counted in part
    ]
    sums: Counter[int] = sum(map(Counter, databases), Counter())
    have = Counter(movie for each in databases for movie in each)
    assert found == [(movie, [sums[movie], have[movie]]) for movie in sorted(sums)]
