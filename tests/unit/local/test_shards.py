"""A stack whose ratings are in several databases."""

from pathlib import Path

import pytest

from local.commands.starting import check_shards
from local.servers.services import stores
from local.stack.layout import MOST_SHARDS, Home, Shape, Stack, StackError
from local.supervision.processes import port_names, select
from rating_svc import shards


def stack(home: Home, count: int) -> Stack:
    names = port_names(select([], shards=count), {})
    return Stack(home, {name: 20_000 + number for number, name in enumerate(names)})


def test_a_stack_has_the_databases_that_it_was_asked_for_and_ratings_wait_for_them() -> None:
    def databases(count: int) -> set[str]:
        names = {process.name for process in select([], shards=count)}
        return {name for name in names if name.startswith("postgres-shard-")}

    assert databases(1) == set()
    assert databases(3) == {"postgres-shard-1", "postgres-shard-2"}
    assert len(databases(MOST_SHARDS)) == MOST_SHARDS - 1
    alone = {process.name for process in select(["rating_svc-worker"], shards=2)}
    assert alone == {"postgres", "postgres-shard-1", "redis", "kafka", "rating_svc-worker"}
    assert "postgres-shard-1" not in {process.name for process in select(["movie_svc"], shards=2)}


def test_rating_svc_alone_is_told_where_they_are(tmp_path: Path) -> None:
    running = stack(Home(tmp_path), 3)
    assert running.shards == 3
    found = shards.configs(stores(running, "rating_svc"))
    assert [config.primary for config in found] == [
        running.dsn("rating_svc", server) for server in ("postgres", "postgres-shard-1", "postgres-shard-2")
    ]
    assert not any("SHARD" in name for name in stores(running, "movie_svc"))


def test_ratings_in_two_databases_are_not_started_with_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    check_shards(1, home, Shape.PLAIN)
    (home.data(Shape.PLAIN) / "postgres-shard-1").mkdir(parents=True)
    check_shards(2, home, Shape.PLAIN)
    check_shards(4, home, Shape.PLAIN)
    with pytest.raises(StackError, match="kept in 2 databases: give --shards 2, or more"):
        check_shards(1, home, Shape.PLAIN)
    with pytest.raises(StackError, match="--cluster"):
        check_shards(2, home, Shape.CLUSTER)
