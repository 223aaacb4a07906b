"""The tutorial on adding an RPC works: it is followed to the letter in a copy, and the result called."""

import re
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from local.stack.layout import Stack
from tests.support.checkout import Checkout, CopysEdge, edge_of
from tests.support.clients import delete_keys
from tests.support.movies import MovieProcess
from tests.support.tutorials import follow, read
from tests.support.waiting import eventually

STEPS: Final = read("add-an-rpc")
HEAT, GODFATHER, SE7EN, SHAWSHANK, TOY_STORY = (
    "tt0113277",
    "tt0068646",
    "tt0114369",
    "tt0111161",
    "tt0114709",
)


def test_adding_an_rpc_touches_five_files() -> None:
    assert len({step.file for step in STEPS}) <= 5


@pytest.fixture(scope="module")
def with_rpc(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The copy after the tutorial on adding an RPC."""
    checkout = Checkout.at(tmp_path_factory.mktemp("rpc") / "checkout")
    follow(STEPS, checkout.folder)
    checkout.make_stubs()
    return checkout


@pytest.fixture(scope="module")
async def similar(
    stack: Stack, with_rpc: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CopysEdge]:
    """An edge before the copy's movie_svc, which knows five films only."""
    folder = tmp_path_factory.mktemp("similar")
    async with MovieProcess(stack, folder, with_rpc.folder, **with_rpc.environment) as replica:
        await forget_movies(stack)
        for film in (HEAT, GODFATHER, SE7EN, SHAWSHANK, TOY_STORY):
            await replica.get(f"movies/{film}")
        with edge_of(with_rpc, {"movie_svc": replica.address}, folder) as edge:
            # What was stored just now reaches a replica of PostgreSQL a moment later.
            path = f"/v1/movies/{HEAT}/similar"
            await eventually(lambda: len(edge.call("GET", path).json().get("movies", ())) == 3)
            yield edge


async def forget_movies(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.dsn("movie_svc"))
    await connection.execute("TRUNCATE movie_svc.movies, movie_svc.absent CASCADE")
    await connection.close()
    await delete_keys(stack, "movie_svc", "movie:*")


def test_similar_movies_come_by_shared_genres_and_then_by_votes(similar: CopysEdge) -> None:
    answer = similar.call("GET", f"/v1/movies/{HEAT}/similar")
    assert answer.status_code == 200, answer.text
    found = [movie["name"].removeprefix("movies/") for movie in answer.json()["movies"]]
    # Two genres of Heat's three, the better known one first; one; Toy Story shares none.
    assert found == [GODFATHER, SE7EN, SHAWSHANK]
    assert answer.headers["x-marquee-source"] == "postgres"


def test_a_page_of_similar_movies_is_bound_by_the_contracts_rule(similar: CopysEdge) -> None:
    path = f"/v1/movies/{HEAT}/similar"
    assert len(similar.call("GET", f"{path}?pageSize=1").json()["movies"]) == 1
    refused = similar.call("GET", f"{path}?pageSize=-1")
    assert refused.status_code == 400
    assert "page_size" in refused.text
    [parameter] = [
        each
        for each in similar.call("GET", "/openapi.json").json()["paths"]["/v1/movies/{movie}/similar"]["get"][
            "parameters"
        ]
        if each["name"] == "pageSize"
    ]
    assert re.search(r"\b50\b", str(parameter))


def test_similar_movies_of_none_are_an_error_of_the_apis_form(similar: CopysEdge) -> None:
    refused = similar.call("GET", "/v1/movies/tt9999999/similar")
    assert refused.status_code == 404
    assert "MOVIE_NOT_FOUND" in refused.text


def test_the_test_that_the_tutorial_adds_passes(with_rpc: Checkout) -> None:
    with_rpc.says(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/movie_svc/test_similar.py"
    )


def test_its_code_is_in_the_houses_style(with_rpc: Checkout) -> None:
    with_rpc.check_style(STEPS)
    with_rpc.says("-m", "mypy", "--no-incremental", "movie_svc")
