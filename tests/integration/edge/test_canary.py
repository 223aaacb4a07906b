"""A new release takes a share of the calls: by weight, by user, by header; changed while calls come in."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from edge import canary, trials
from edge.live import Routes
from edge.render import render
from edge.trials import Audience, Canary, Condition, Segment
from tests.support.edge.mesh import Edge, Instance, running_edge
from tests.support.edge.trials import MOVIE, ON_TRIAL, RATING, healthy_releases, release
from tests.support.repeating import repeatedly
from tests.support.waiting import eventually

pytestmark = pytest.mark.alone

USERS = [f"user-{number}" for number in range(150)]


@pytest.fixture(scope="module")
async def shared_trial() -> AsyncIterator[Instance]:
    instance = await Instance().start()
    yield instance
    await instance.stop()


@pytest.fixture(scope="module")
async def shared_edge(shared_trial: Instance) -> AsyncIterator[Edge]:
    async with running_edge() as edge:
        # As `marquee canary start` does it: the edge runs, and then there is a new release.
        for service in ON_TRIAL:
            canary.set_endpoints(edge.folder / "envoy", service, [f"127.0.0.1:{shared_trial.port}"])
        await healthy_releases(edge)
        yield edge


@pytest.fixture
def trial(shared_trial: Instance) -> Instance:
    return shared_trial


@pytest.fixture
async def edge(shared_edge: Edge, trial: Instance) -> AsyncIterator[Edge]:
    yield shared_edge
    for service in ON_TRIAL:
        await asyncio.to_thread(canary.clear, shared_edge.folder / "envoy", service)
    for instance in (shared_edge.service, trial):
        instance.headers.clear()
    await taken_up(shared_edge)


async def taken_up(edge: Edge) -> None:
    """Waits until Envoy routes as the route file says."""
    modified = (edge.folder / "envoy" / "routes.yaml").stat().st_mtime

    async def newer() -> bool:
        name = "http.edge.rds.edge.update_time"
        return (await edge.stats(f"^{name}$"))[name] / 1000 >= modified

    await eventually(newer, what="the new routes")


async def change(edge: Edge, service: str, audience: Audience) -> None:
    folder = edge.folder / "envoy"

    def write() -> None:
        with trials.changing(folder) as now:
            Routes(folder).change(now.with_canary(service, Canary(audience)))

    # Not in the loop that the services answer health checks from.
    await asyncio.to_thread(write)
    await taken_up(edge)


async def releases(edge: Edge, users: list[str] = USERS, path: str = RATING) -> dict[str, str]:
    few = asyncio.Semaphore(4)

    async def of(user: str) -> str:
        async with few:
            return await release(edge, path, **edge.bearer(user))

    return dict(zip(users, await asyncio.gather(*map(of, users)), strict=True))


def on_trial(found: dict[str, str]) -> set[str]:
    return {user for user, chosen in found.items() if chosen == "canary"}


async def test_the_share_follows_the_command_without_a_failed_call(edge: Edge, trial: Instance) -> None:
    folder = edge.folder / "envoy"
    outcomes: dict[int, int] = {}

    async def call() -> None:
        # Anonymous: each call is weighed by itself.
        status = (await edge.http.get(MOVIE)).status_code
        outcomes[status] = outcomes.get(status, 0) + 1

    async with repeatedly(*[call] * 4, pause_s=0.005):
        for percent, low, high in ((30, 0.15, 0.45), (100, 1, 1), (0, 0, 0)):
            await asyncio.to_thread(canary.set_share, folder, "movie_svc", percent)
            await taken_up(edge)
            edge.service.calls.clear()
            trial.calls.clear()

            async def enough() -> bool:
                return len(edge.service.calls) + len(trial.calls) >= 300

            await eventually(enough, what="300 calls")
            calls = len(edge.service.calls) + len(trial.calls)
            # Each of the four callers may have had one under way.
            assert low * calls - 4 <= len(trial.calls) <= high * calls + 4
    assert set(outcomes) == {200}, outcomes


async def test_a_user_stays_with_a_release_and_a_growing_share_only_adds_users(edge: Edge) -> None:
    taken: set[str] = set()
    for percent in (10, 40, 100):
        await change(edge, "rating_svc", Audience(percent))
        first, again = await releases(edge), await releases(edge)
        assert first == again
        assert taken <= on_trial(first), "who has it keeps it"
        taken = on_trial(first)
        assert abs(len(taken) - len(USERS) * percent / 100) <= 20
    await change(edge, "rating_svc", Audience(40))
    other_token = {user: await release(edge, RATING, **edge.bearer(user, ttl_s=60)) for user in USERS[:20]}
    assert other_token == {
        user: found for user, found in (await releases(edge)).items() if user in other_token
    }


async def test_an_anonymous_client_that_names_itself_stays_too(edge: Edge) -> None:
    await change(edge, "movie_svc", Audience(50))
    found = {}
    for number in range(40):
        same = {await release(edge, **{"marquee-client": f"app-{number}"}) for _ in range(3)}
        assert len(same) == 1
        found[str(number)] = same.pop()
    assert 5 <= len(on_trial(found)) <= 35


async def test_services_choose_their_users_by_themselves(edge: Edge) -> None:
    await change(edge, "rating_svc", Audience(30))
    await change(edge, "movie_svc", Audience(30))
    ratings, movies = await releases(edge), await releases(edge, path=MOVIE)
    both = on_trial(ratings) & on_trial(movies)
    assert len(both) < len(on_trial(ratings)) * 0.7, "not always the same users try what is new"


async def test_a_header_chooses_the_release_while_there_is_a_trial(edge: Edge, trial: Instance) -> None:
    assert await release(edge, **{"marquee-release": "canary"}) == "stable", "nothing is on trial"
    await change(edge, "movie_svc", Audience(0))
    assert await release(edge) == "stable"
    assert await release(edge, **{"marquee-release": "canary"}) == "canary"
    await change(edge, "movie_svc", Audience(100))
    assert await release(edge) == "canary"
    assert await release(edge, **{"marquee-release": "stable"}) == "stable"
    async with grpc.aio.insecure_channel(edge.target) as channel:
        trial.calls.clear()
        stub = movies_pb2_grpc.MovieServiceStub(channel)
        request = movies_pb2.GetMovieRequest(name="movies/tt1")
        await stub.GetMovie(request, timeout=5, metadata=(("marquee-release", "stable"),))
        assert trial.calls == []
        await stub.GetMovie(request, timeout=5)
        assert len(trial.calls) == 1


async def test_segments_are_told_by_the_verified_token_alone(edge: Edge) -> None:
    testers = Segment((Condition("subject", "in", ("ann", "b.b")),), 100)
    partners = Segment((Condition("tier", "in", ("partner",)),), 100)
    await change(edge, "rating_svc", Audience(0, (testers, partners)))
    assert await release(edge, RATING, **edge.bearer("ann")) == "canary"
    assert await release(edge, RATING, **edge.bearer("b.b")) == "canary"
    assert await release(edge, RATING, **edge.bearer("bxb")) == "stable"
    assert await release(edge, RATING, **edge.bearer("eve", tier="partner")) == "canary"
    assert await release(edge, RATING, **edge.bearer("eve")) == "stable"
    spoofed = {"x-marquee-subject": "ann", "x-marquee-tier": "partner", "x-marquee-release": "canary"}
    assert await release(edge, RATING, **edge.bearer("eve"), **spoofed) == "stable"


async def test_releases_never_share_a_cached_answer(edge: Edge, trial: Instance) -> None:
    def titled(title: str) -> Any:
        async def answer(request: movies_pb2.GetMovieRequest, _context: object) -> movies_pb2.Movie:
            return movies_pb2.Movie(name=request.name, title=title)

        return answer

    for instance, title in ((edge.service, "old"), (trial, "new")):
        instance.headers[:] = [("cache-control", "public, max-age=600")]
        instance.handlers["GetMovie"] = titled(title)
    await change(edge, "movie_svc", Audience(0))
    path = "/v1/movies/tt7654321"
    try:
        for chosen, title in (("canary", "new"), ("stable", "old")):

            async def cached(chosen: str = chosen) -> bool:
                answer = await edge.http.get(path, headers={"marquee-release": chosen})
                return "age" in answer.headers

            await eventually(cached, what="a cached answer")
            for _ in range(10):
                answer = await edge.http.get(path, headers={"marquee-release": chosen})
                assert "age" in answer.headers
                assert answer.json()["title"] == title
                assert answer.headers.get("x-marquee-release", "stable") == chosen
        assert (await edge.http.get(f"{path}?~=1")).status_code == 400, "the key is no parameter of the API"
        # A later trial of another release does not get what this one has left in the cache.
        canary.clear(edge.folder / "envoy", "movie_svc")
        trial.handlers["GetMovie"] = titled("newer")
        await change(edge, "movie_svc", Audience(100))
        assert (await edge.http.get(path)).json()["title"] == "newer"
    finally:
        edge.service.handlers.clear()
        trial.handlers.clear()


async def test_a_change_reaches_the_traffic_by_itself(edge: Edge, trial: Instance) -> None:
    await change(edge, "movie_svc", Audience(0))
    began = time.monotonic()
    await asyncio.to_thread(canary.set_share, edge.folder / "envoy", "movie_svc", 100)

    async def moved() -> bool:
        return await release(edge) == "canary"

    await eventually(moved, what="the new release")
    took = time.monotonic() - began
    print(f"from the command to the traffic: {took:.2f} s")


async def test_rendering_again_keeps_what_is_on_trial(edge: Edge, trial: Instance) -> None:
    folder = edge.folder / "envoy"
    canary.set_share(folder, "rating_svc", 25)
    before = (folder / "routes.yaml").read_text()
    render(edge.settings, folder)
    assert canary.shares(folder) == {"rating_svc": 25}
    assert str(trial.port) in (folder / "endpoints-rating_svc_canary_hosts.yaml").read_text()
    assert (folder / "routes.yaml").read_text() == before


async def test_what_can_not_be_is_refused(edge: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    folder = edge.folder / "envoy"
    with pytest.raises(ValueError, match="101 is no share"):
        canary.set_share(folder, "rating_svc", 101)
    assert canary.main(["set", "--dir", str(folder), "no_svc", "5"]) == 1
    assert "there is no service 'no_svc'" in capsys.readouterr().err
    assert canary.main(["show", "--dir", str(Path(folder))]) == 0
