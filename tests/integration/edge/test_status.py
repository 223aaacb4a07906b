"""`marquee edge status` tells what an SRE would want to know."""

import asyncio
import json
import os
import subprocess
import sys

import httpx

from edge.status import EdgeStatus, look
from local.commands.edge_cli import healthy
from local.stack.layout import Stack
from tests.support.edge.mesh import MOVIES, running_edge
from tests.support.ports import free_port
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"


async def test_it_tells_who_gets_no_calls_and_why() -> None:
    async with running_edge(instances=2) as edge:
        for _ in range(10):
            assert (await edge.http.get(MOVIE)).status_code == 200

        async def both() -> EdgeStatus | None:
            # The edge is ready as soon as one of them is.
            found = await asyncio.to_thread(look, edge.admin, edge.folder / "envoy")
            return found if healthy(found) else None

        found = await eventually(both, what="two healthy instances")
        assert (found.state, found.version, found.routes_refused) == ("LIVE", "1.40.0", 0)
        assert found.total >= 10
        movies = next(service for service in found.services if service.name == "movie_svc")
        assert [instance.state for instance in movies.instances] == ["healthy", "healthy"]
        assert movies.calls == 10
        assert healthy(found)

        for instance in edge.instances:
            await instance.set_serving(False, MOVIES)

        async def seen() -> bool:
            now = await asyncio.to_thread(look, edge.admin, edge.folder / "envoy")
            movies = next(service for service in now.services if service.name == "movie_svc")
            return {one.state for one in movies.instances} == {"failed health check"} and not healthy(now)

        await eventually(seen, what="two instances that failed their health check")


async def test_it_tells_weights_time_outs_and_limits_of_each_route() -> None:
    async with running_edge() as edge:
        found = await asyncio.to_thread(look, edge.admin, edge.folder / "envoy")
        routes = {route.name: route for route in found.routes}
        movie = routes["GET /v1/{name=movies/*}"]
        assert (movie.to, movie.timeout, movie.limit) == ({"movie_svc": 100}, "5s", "reads")
        assert "connect-failure" in movie.retries
        rate = routes["PUT /v1/{name=users/*/ratings/*}"]
        assert "reset" not in rate.retries, "what may have happened is not repeated"
        assert len(routes) == 17


async def test_the_command_shows_the_running_mesh(mesh_stack: Stack) -> None:
    command = [sys.executable, "-m", "local", "edge", "status"]
    environment = {**os.environ, "MARQUEE_HOME": str(mesh_stack.home.root)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    async def well() -> str | None:
        # A busy machine may have been late with an answer to a health check.
        done = await asyncio.to_thread(run, "--routes")
        return done.stdout if done.returncode == 0 else None

    shown = await eventually(well, interval=0.5)
    for words in ("movie_svc", "ranking_svc", "healthy", "closed", "GET /v1/charts/trending", "partner"):
        assert words in shown
    found = json.loads(run("--json").stdout)
    assert found["limits"]["free"]["writes"]["per_second"] > 0
    assert {service["name"] for service in found["services"]} >= {"movie_svc", "rating_svc", "ranking_svc"}


async def test_prometheus_reads_statistics_from_another_machine_and_nothing_else_of_the_admin_page() -> None:
    port = free_port()
    async with running_edge(stats_port=port) as edge, httpx.AsyncClient(timeout=10) as http:
        at = f"http://127.0.0.1:{port}"
        assert (await edge.http.get(MOVIE)).status_code == 200
        answer = await http.get(
            f"{at}/stats/prometheus", params={"filter": "^cluster\\.movie_svc\\.upstream_rq"}
        )
        assert answer.status_code == 200
        assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="movie_svc"} 1' in answer.text
        assert "envoy_server_uptime" not in answer.text
        for path in ("/", "/stats", "/quitquitquit", "/stats/prometheus/x", "/config_dump", "/clusters"):
            assert (await http.get(f"{at}{path}")).status_code == 404, path
        for path in ("/quitquitquit", "/stats/prometheus", "/healthcheck/fail"):
            assert (await http.post(f"{at}{path}")).status_code == 404, path
        assert (await edge.http.get(MOVIE)).status_code == 200
