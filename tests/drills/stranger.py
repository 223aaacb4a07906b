"""One more process beside a running mesh, with much that is wrong with it."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator

import grpc
import yaml
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc

from local.stack.layout import Stack
from tests.drills.breaks import locked
from tests.support.clock import skewed
from tests.support.parts import pid_of
from tests.support.process import ServiceProcess
from tests.support.repeating import repeatedly
from tests.support.waiting import eventually

HOUR_S = 3600.0


@contextlib.asynccontextmanager
async def stranger(stack: Stack) -> AsyncIterator[None]:
    """One more movie_svc: of another release, with a wrong clock, and with too few connections."""
    folder = stack.home.root / "stranger"
    release = folder / "marquee_mesh-99.dist-info"
    release.mkdir(parents=True, exist_ok=True)
    (release / "METADATA").write_text("Metadata-Version: 2.1\nName: marquee-mesh\nVersion: 99\n")
    environment = skewed(HOUR_S)
    environment["PYTHONPATH"] += f"{os.pathsep}{folder}"
    process = ServiceProcess(stack, "movie_svc", "serve", folder, MARQUEE_PG_POOL="1", **environment)
    async with process:
        stub = movies_pb2_grpc.MovieServiceStub(process.channel)

        async def lists() -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.ListMovies(movies_pb2.ListMoviesRequest(genre="Drama"), timeout=10)

        async def wait() -> bool:
            return await process.metric("marquee_postgres_pool_waiting") > 0

        async with locked("movie_svc.movies")(stack), repeatedly(*[lists] * 6):
            await eventually(wait, 60, 0.2, what="calls that wait")
            with scraped(stack, "movie_svc", process.metrics_address):
                yield


@contextlib.contextmanager
def scraped(stack: Stack, job: str, address: str) -> Iterator[None]:
    """One more process of a job that Prometheus looks at."""
    file = stack.home.observability / "prometheus.yml"
    before = file.read_text()
    changed = yaml.safe_load(before)
    (found,) = (each for each in changed["scrape_configs"] if each["job_name"] == job)
    found["static_configs"].append({"targets": [address], "labels": {"instance": f"{job}.stranger"}})

    def write(text: str) -> None:
        file.write_text(text)
        os.kill(pid_of(stack, "prometheus"), signal.SIGHUP)

    write(yaml.safe_dump(changed, sort_keys=False))
    try:
        yield
    finally:
        write(before)
