"""`marquee demo` from nothing to a checked chart, and what it says when it can't check."""

import asyncio
import csv
import itertools
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.stack import state as states
from local.stack.layout import Home
from tests.support.command import run
from tests.support.waiting import eventually

USERS, MOVIES = 12, 9


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("demo")
    write_movielens(folder)
    write_answers(folder)
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


def write_answers(folder: Path) -> None:
    """OMDb's answers on some of the movies, in a file that is much older than the catalogue's import."""
    (folder / "omdb").mkdir()
    path = folder / "omdb" / "answers.jsonl"
    with path.open("w") as file:
        for movie in (2, 5):
            body = {
                "Title": f"The Tale {movie}",
                "Year": str(1990 + movie),
                "Plot": "Once upon a time.",
                "Director": "A. Director",
                "Poster": "https://posters.example/p.jpg",
                "BoxOffice": f"${movie}00,000",
                "imdbID": f"tt{9_000_000 + movie}",
                "Type": "movie",
                "Response": "True",
            }
            file.write(json.dumps({"body": body}) + "\n")
    os.utime(path, (10**9, 10**9))


def demo(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    data = str(home.root.parent)
    return run(home, "demo", "--data", data, *words, environment={"MARQUEE_DATA": data})


def test_the_demo_loads_checks_and_leaves_the_mesh_up(home: Home) -> None:
    done = demo(home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The chart is right: all {MOVIES} movies" in done.stdout
    assert "The Tale 3" in done.stdout
    assert "with one PUT each" in done.stdout
    assert run(home, "status").returncode == 0
    assert run(home, "verify").returncode == 0
    top = run(home, "top", "--genre", "comedy", "-n", "3")
    assert top.returncode == 0
    assert "The Tale" in top.stdout


async def test_titles_and_charts_have_all_that_omdb_said(home: Home) -> None:
    async with api_of(home) as api:
        for movie, plot in (
            ("tt9000005", "Once upon a time."),
            ("tt9000002", "Once upon a time."),
            ("tt9000003", None),
        ):
            assert (await api.get(f"/v1/movies/{movie}")).json().get("plot") == plot

        async def chart() -> bool:
            entries = (await api.get("/v1/charts/box-office")).json()["entries"]
            return [entry["movie"] for entry in entries] == ["movies/tt9000005", "movies/tt9000002"]

        await eventually(chart)


def test_it_may_be_run_again_in_batches_and_names_what_it_can_not_read(home: Home) -> None:
    with (home.root.parent / "ratings.csv").open("a") as file:
        file.write("1,2\n1,1,6.0,100\n")
    with (home.root.parent / "movies.csv").open("a") as file:
        file.write("short\n")
    again = demo(home, "--batch")
    assert again.returncode == 3, again.stdout + again.stderr
    assert "The chart is right" in again.stdout
    assert "ratings.csv, line" in again.stdout
    assert "it has 2 columns, not 4" in again.stdout
    assert "rating '6.0' is not 0.5, 1.0, … 5.0" in again.stdout
    assert "2 lines can't be read" in again.stdout
    assert "log.level" not in again.stdout
    assert "movies.csv, line 11: it has 1 columns, not 3" in again.stdout


def test_load_measures_what_it_asked_for(home: Home) -> None:
    done = run(home, "load", "--users", "4", "--seconds", "2", "--mix", "movie=3,top=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"movie", "top"} <= {line.split(" ")[0] for line in done.stdout.splitlines()}
    assert "failed" not in done.stdout


def api_of(home: Home) -> httpx.AsyncClient:
    state = states.live(home)
    assert state is not None
    return httpx.AsyncClient(base_url=state.stack(home).edge_url, timeout=20)


async def test_other_ratings_are_not_passed_off_as_the_datas(home: Home) -> None:
    token = run(home, "token", "--user", "somebody-else").stdout.strip()
    async with api_of(home) as api:
        movie = "/v1/movies/tt9000001/score"
        before = (await api.get(movie)).json()["votes"]
        headers = {"authorization": f"Bearer {token}"}
        done = await api.put("/v1/users/me/ratings/tt9000001", json={"score": 1}, headers=headers)
        assert done.status_code == 200
        async with asyncio.timeout(60):
            for _ in itertools.count():
                if (await api.get(movie)).json()["votes"] > before:
                    break
                await asyncio.sleep(0.1)
    refused = demo(home)
    assert refused.returncode == 1
    assert "start afresh with `marquee down --wipe`" in refused.stderr
