"""The totals of all ratings are a recount, and they and lists are read by an index."""

import asyncio

import asyncpg

from rating_svc import store
from tests.support.ratings import Service, User, movie_name, totals, unrated
from tests.support.waiting import eventually


async def test_totals_are_what_a_recount_gives(service: Service, pair: tuple[User, User]) -> None:
    numbers = [next(unrated) for _ in range(3)]
    users = [service.user()[0] for _ in range(12)]
    await asyncio.gather(*(user.rate(n, i % 10 + 1) for i, user in enumerate(users) for n in numbers[:2]))
    await users[0].delete(numbers[1])
    await service.stored(users[0], numbers[1], None)
    for i, user in enumerate(users[1:], start=1):
        await service.stored(user, numbers[1], i % 10 + 1)
    everything = await service.sql(
        "SELECT movie_id, score, count(*) AS votes FROM ratings WHERE score IS NOT NULL GROUP BY 1, 2"
    )
    expected: dict[str, list[int]] = {}
    for row in everything:
        expected.setdefault(movie_name(row["movie_id"]), [0] * 10)[row["score"] - 1] = row["votes"]

    async def agrees() -> bool:  # the replica it is read from may be a moment behind
        return await totals(service.channels[0]) == expected

    await eventually(agrees)
    some = await totals(service.channels[0], numbers)
    assert some == {movie_name(n): expected[movie_name(n)] for n in numbers[:2]}
    assert some[movie_name(numbers[1])] == [1, 2, 1, 1, 1, 1, 1, 1, 1, 1]


async def test_a_reader_of_totals_that_goes_away_leaves_no_connection_behind(service: Service) -> None:
    async def held() -> int:
        rows = await service.sql(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'rating_svc' AND state LIKE 'idle in trans%'"
        )
        return len(rows)

    from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

    for _ in range(20):
        call = internal_pb2_grpc.RatingTotalsServiceStub(service.channels[0]).StreamTotals(
            internal_pb2.StreamTotalsRequest(), timeout=10
        )
        await call.read()
        call.cancel()

    async def none() -> bool:
        return await held() == 0

    await eventually(none)
    assert await totals(service.channels[0])


async def test_lists_and_totals_walk_an_index(service: Service) -> None:
    connection = await asyncpg.connect(service.stack.dsn("rating_svc"))
    try:
        async with connection.transaction():
            # As asyncpg's prepared statements come to be run; and tables of tests are too small for an index.
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute("SET LOCAL enable_seqscan = off")
            plans = {}
            for name, query in (
                ("list", store.LIST), ("all", store.TOTALS_OF_ALL), ("some", store.TOTALS_OF_SOME)
            ):  # fmt: skip
                await connection.execute(f"PREPARE q_{name} AS {query}")
            arguments = {
                "list": "('ann', '{1,2}', '2030-01-01', 5, 3, 8, 51)",
                "all": "",
                "some": "('{1,2}')",
            }
            for name, given in arguments.items():
                if name != "list":
                    await connection.execute(store.TOTALS_PLAN)
                rows = await connection.fetch(f"EXPLAIN EXECUTE q_{name} {given}")
                plans[name] = "\n".join(row[0] for row in rows)
    finally:
        await connection.close()
    # Only the user's own partition, in the order of the page: the limit ends the walk.
    assert "user_id_update_time_movie_id_idx" in plans["list"]
    assert "Sort  (" not in plans["list"]
    assert "Subplans Removed: 15" in plans["list"]
    # Grouped in the order of the index: the first totals go out before the last are counted.
    assert "Only Scan using ratings_00_movie_id_score_idx" in plans["all"]
    assert "GroupAggregate" in plans["all"]
    assert "Sort  (" not in plans["all"]
    assert "movie_id_score_idx" in plans["some"]
