"""Between the edge and the services: both show who they are, and look."""

import asyncio
from pathlib import Path

import grpc
import pytest
from marquee.movies.v1 import movies_pb2

from edge.render import EdgeTls
from local.stack import authority
from mesh import tls
from tests.support.edge.mesh import Edge, running_edge
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"


def edge_files(folder: Path) -> EdgeTls:
    config = authority.issue(folder, "edge")
    return EdgeTls(Path(config.certificate), Path(config.key), Path(config.authority))


def server_of(folder: Path, name: str) -> grpc.ServerCredentials:
    return tls.server_credentials(tls.Files(authority.issue(folder, name)))


def report_callers(edge: Edge) -> list[str]:
    """Whose certificate each call came with."""
    callers: list[str] = []

    async def answer(
        request: movies_pb2.GetMovieRequest, context: grpc.aio.ServicerContext
    ) -> movies_pb2.Movie:
        callers.append(tls.peer_of(context))
        return movies_pb2.Movie(name=request.name)

    edge.service.handlers["GetMovie"] = answer
    return callers


async def test_only_the_service_that_a_certificate_names_is_called(tmp_path: Path) -> None:
    # The one test server stands for all three services, but is certified as one only.
    settings = {"tls": edge_files(tmp_path), "credentials": server_of(tmp_path, "movie_svc")}
    async with running_edge(expect_ready=False, **settings) as edge:
        callers = report_callers(edge)

        async def served() -> bool:
            return (await edge.http.get(MOVIE)).status_code == 200

        await eventually(served, what="a movie over mTLS")
        assert set(callers) == {"edge"}
        impostor = await edge.http.get("/v1/charts/trending")
        assert impostor.status_code == 503, "a server with another service's certificate gets no calls"
        assert edge.service.calls[-1].method == "GetMovie"


async def test_a_rotated_certificate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    files = edge_files(tmp_path)
    async with running_edge(
        expect_ready=False, tls=files, credentials=server_of(tmp_path, "movie_svc")
    ) as edge:
        callers = report_callers(edge)

        async def served() -> bool:
            return (await edge.http.get(MOVIE)).status_code == 200

        await eventually(served, what="a movie over mTLS")
        rotations = "sds.edge.key_rotation_failed|ssl_context_update_by_sds"
        before = await edge.stats(rotations)
        authority.issue(tmp_path, "edge")

        async def rotated() -> bool:
            return (await edge.stats(rotations)) != before

        await eventually(rotated, what="the new certificate")
        outcomes = await asyncio.gather(*(served() for _ in range(20)))
        assert all(outcomes)
        assert set(callers) == {"edge"}


async def test_a_service_refuses_an_edge_without_a_certificate(tmp_path: Path) -> None:
    async with running_edge(expect_ready=False, credentials=server_of(tmp_path, "movie_svc")) as edge:
        with pytest.raises(AssertionError):
            await eventually(lambda: _ok(edge), timeout=2)
        assert edge.service.calls == []


async def _ok(edge: Edge) -> bool:
    return (await edge.http.get(MOVIE)).status_code == 200
