"""`marquee demo` from nothing to a checked chart, and what it says when it can't check."""

import asyncio
import csv
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mesh.local import state as states
from mesh.local.stack import Home
from tests.support.command import run

USERS, MOVIES = 12, 9


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("demo")
    write_movielens(folder)
    made = Home(folder / "home")
    yield made
    run(made, "down")


def write_movielens(folder: Path) -> None:
    chance = random.Random(3)
    movies = range(1, MOVIES + 1)
    files: dict[str, list[list[str]]] = {
        "movies.csv": [["movieId", "title", "genres"]],
        "links.csv": [["movieId", "imdbId", "tmdbId"]],
        "ratings.csv": [["userId", "movieId", "rating", "timestamp"]],
    }
    for movie in movies:
        files["movies.csv"].append([str(movie), f"Tale {movie}, The ({1990 + movie})", "Drama|Comedy"])
        files["links.csv"].append([str(movie), str(9_000_000 + movie), ""])
        for user in range(1, USERS + 1):
            if chance.random() < 0.7:
                stars = str(chance.randint(1, 10) / 2)
                files["ratings.csv"].append([str(user), str(movie), stars, str(chance.randint(1, 10**9))])
    for name, rows in files.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def test_the_demo_loads_checks_and_leaves_the_mesh_up(home: Home) -> None:
    done = run(home, "demo", "--data", str(home.root.parent))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The chart is right: all {MOVIES} movies" in done.stdout
    assert "The Tale 3" in done.stdout
    assert "a second through HTTP" in done.stdout
    assert run(home, "status").returncode == 0
    assert run(home, "verify").returncode == 0
    top = run(home, "top", "--genre", "comedy", "-n", "3")
    assert top.returncode == 0
    assert "The Tale" in top.stdout


def test_it_may_be_run_again_in_batches(home: Home) -> None:
    again = run(home, "demo", "--data", str(home.root.parent), "--batch")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "The chart is right" in again.stdout


def test_load_measures_what_it_asked_for(home: Home) -> None:
    done = run(home, "load", "--users", "4", "--seconds", "2", "--mix", "movie=3,top=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"movie", "top"} <= {line.split(" ")[0] for line in done.stdout.splitlines()}
    assert "failed" not in done.stdout


async def test_other_ratings_are_not_passed_off_as_the_datas(home: Home) -> None:
    state = states.live(home)
    assert state is not None
    token = run(home, "token", "--user", "somebody-else").stdout.strip()
    async with httpx.AsyncClient(base_url=state.stack(home).edge_url) as api:
        movie = "/v1/movies/tt9000001/score"
        before = (await api.get(movie)).json()["votes"]
        headers = {"authorization": f"Bearer {token}"}
        done = await api.put("/v1/users/me/ratings/tt9000001", json={"score": 1}, headers=headers)
        assert done.status_code == 200
        async with asyncio.timeout(20):
            for _ in itertools.count():
                if (await api.get(movie)).json()["votes"] > before:
                    break
                await asyncio.sleep(0.1)
    refused = run(home, "demo", "--data", str(home.root.parent))
    assert refused.returncode == 1
    assert "start afresh with `marquee down --wipe`" in refused.stderr
