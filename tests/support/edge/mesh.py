"""A real Envoy before small services that answer as the tests tell them to."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
import httpx
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.rankings.v1 import rankings_pb2, rankings_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc

import envoy
from edge import policies, tokens
from edge.render import EdgeSettings, render
from tests.support.ports import free_port
from tests.support.waiting import eventually

MOVIES = "marquee.movies.v1.MovieService"
RATINGS = "marquee.ratings.v1.RatingService"
RANKINGS = "marquee.rankings.v1.RankingService"
SERVICES = {cluster: name for name, cluster in policies.clusters(policies.load_table()).items()}

Handler = Callable[[Message, grpc.aio.ServicerContext], Awaitable[Message]]


@dataclass
class Call:
    """One call as a service saw it."""

    method: str
    request: Any
    metadata: list[tuple[str, str | bytes]]
    time_remaining: float | None

    def values(self, key: str) -> list[str | bytes]:
        return [value for name, value in self.metadata if name == key]


def rich_error(
    code: grpc.StatusCode, message: str, *details: Message
) -> tuple[grpc.StatusCode, str, list[Any]]:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return code, message, [("grpc-status-details-bin", status.SerializeToString())]


async def fail(context: grpc.aio.ServicerContext, error: tuple[grpc.StatusCode, str, list[Any]]) -> None:
    await context.abort(error[0], error[1], trailing_metadata=tuple(error[2]))


def not_found(name: str) -> tuple[grpc.StatusCode, str, list[Any]]:
    return rich_error(
        grpc.StatusCode.NOT_FOUND,
        f"{name} does not exist",
        error_details_pb2.ErrorInfo(reason="MOVIE_NOT_FOUND", domain="marquee"),
    )


class Instance:
    """One instance of all services; `handlers` replaces an RPC's answer by its name."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.health = health.aio.HealthServicer()
        self.port = 0
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> "Instance":
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        movies_pb2_grpc.add_MovieServiceServicer_to_server(self._servicer(_Movies), self._server)
        ratings_pb2_grpc.add_RatingServiceServicer_to_server(self._servicer(_Ratings), self._server)
        rankings_pb2_grpc.add_RankingServiceServicer_to_server(self._servicer(_Rankings), self._server)
        await self.set_serving(True)
        # Below the kernel's own range: else, while it is stopped, its port may become somebody's source port.
        address = f"127.0.0.1:{port or free_port()}"
        if credentials:
            self.port = self._server.add_secure_port(address, credentials)
        else:
            self.port = self._server.add_insecure_port(address)
        await self._server.start()
        return self

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def set_serving(self, serving: bool, *services: str) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in services or ("", *SERVICES.values()):
            await self.health.set(service, status)

    async def stop(self, grace: float | None = None) -> None:
        await self._server.stop(grace)

    def _servicer(self, base: type) -> Any:
        instance = self

        def unary(name: str, answer: Callable[[Any], Message]) -> Any:
            async def call(_self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
                instance._record(name, request, context)
                if instance.headers:
                    await context.send_initial_metadata(instance.headers)
                if instance.trailers:
                    context.set_trailing_metadata(instance.trailers)
                handler = instance.handlers.get(name)
                return await handler(request, context) if handler else answer(request)

            return call

        def streaming(name: str, answers: Callable[[Any], list[Message]]) -> Any:
            async def call(_self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
                instance._record(name, request, context)
                handler = instance.handlers.get(name)
                if handler:
                    async for message in handler(request, context):
                        yield message
                else:
                    for message in answers(request):
                        yield message

            return call

        members = {
            name: (streaming if name in base.streams else unary)(name, answer)  # type: ignore[attr-defined]
            for name, answer in base.answers.items()  # type: ignore[attr-defined]
        }
        members.update(base.extra(self) if hasattr(base, "extra") else {})
        return type(base.__name__, (base.servicer,), members)()  # type: ignore[attr-defined]

    def _record(self, name: str, request: Any, context: grpc.aio.ServicerContext) -> None:
        remaining = context.time_remaining()
        self.calls.append(Call(name, request, list(context.invocation_metadata() or ()), remaining))


class _Movies:
    servicer = movies_pb2_grpc.MovieServiceServicer
    streams: tuple[str, ...] = ()
    answers: ClassVar[dict[str, Any]] = {
        "GetMovie": lambda request: movies_pb2.Movie(
            name=request.name, title="The Shawshank Redemption", year=1994
        ),
        "BatchGetMovies": lambda request: movies_pb2.BatchGetMoviesResponse(
            movies=[movies_pb2.Movie(name=name) for name in request.names]
        ),
        "LookupMovie": lambda request: movies_pb2.Movie(name="movies/tt0111161", title=request.title),
        "SearchMovies": lambda request: movies_pb2.SearchMoviesResponse(
            movies=[movies_pb2.Movie(name="movies/tt0111161", title=request.query)]
        ),
        "ListMovies": lambda request: movies_pb2.ListMoviesResponse(),
    }


class _Ratings:
    servicer = ratings_pb2_grpc.RatingServiceServicer
    streams = ("ExportRatings",)
    answers: ClassVar[dict[str, Any]] = {
        "RateMovie": lambda request: ratings_pb2.Rating(name=request.name, score=request.score),
        "GetRating": lambda request: ratings_pb2.Rating(name=request.name, score=7),
        "DeleteRating": lambda request: ratings_pb2.Rating(name=request.name),
        "ListRatings": lambda request: ratings_pb2.ListRatingsResponse(),
        "BatchRateMovies": lambda request: ratings_pb2.BatchRateMoviesResponse(
            results=[ratings_pb2.RateResult(name=each.name) for each in request.requests]
        ),
        "ExportRatings": lambda request: [
            ratings_pb2.Rating(name=f"users/me/ratings/tt000000{digit}", score=digit) for digit in range(1, 4)
        ],
    }

    @staticmethod
    def extra(instance: Instance) -> dict[str, Any]:
        async def import_ratings(_self: Any, requests: Any, context: grpc.aio.ServicerContext) -> Any:
            instance._record("ImportRatings", None, context)
            imported = 0
            async for _ in requests:
                imported += 1
            return ratings_pb2.ImportRatingsResponse(imported=imported)

        return {"ImportRatings": import_ratings}


class _Rankings:
    servicer = rankings_pb2_grpc.RankingServiceServicer
    streams = ("WatchScore",)
    answers: ClassVar[dict[str, Any]] = {
        "GetScore": lambda request: rankings_pb2.Score(name=request.name, votes=3, mean=8.5),
        "WatchScore": lambda request: [
            rankings_pb2.Score(name=request.name, votes=votes) for votes in (1, 2)
        ],
        "ListTopRated": lambda request: rankings_pb2.ListTopRatedResponse(),
        "ListMostVoted": lambda request: rankings_pb2.ListMostVotedResponse(),
        "ListBoxOffice": lambda request: rankings_pb2.ListBoxOfficeResponse(),
        "ListTrending": lambda request: rankings_pb2.ListTrendingResponse(),
    }


@dataclass
class Edge:
    """Envoy and what it needs; `url` is the API's, `admin` that of Envoy's own pages."""

    folder: Path
    instances: list[Instance]
    settings: EdgeSettings
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient = field(init=False)
    pages: httpx.AsyncClient = field(init=False)
    """Of `admin`. One for all questions: each new client reads all certificates that the machine trusts."""

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(base_url=self.url, timeout=20)
        self.pages = httpx.AsyncClient(base_url=self.admin, timeout=20)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.settings.edge_port}"

    @property
    def url(self) -> str:
        return f"http://{self.target}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.settings.admin_port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def service(self) -> Instance:
        return self.instances[0]

    def token(self, subject: str = "ann", **claims: Any) -> str:
        return tokens.issue(self.folder / "keys", subject, **claims)

    def bearer(self, subject: str = "ann", **claims: Any) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(subject, **claims)}"}

    async def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names match."""
        page = await self.pages.get("/stats", params={"filter": pattern})
        return {name: int(value) for name, value in re.findall(r"^(\S+): (\d+)$", page.text, re.MULTILINE)}


def envoy_command(folder: Path) -> list[str]:
    binary = Path(envoy.__file__).parent / "_bin" / "envoy"
    return [
        str(binary),
        *("--config-path", str(folder / "envoy.yaml")),
        *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
    ]


def _be_patient(configuration: Path) -> None:
    """The services answer health checks from the test's own loop: while that is busy, they are not dead."""
    before = configuration.read_text()
    checks = "unhealthy_edge_interval: 0.2s\n      timeout: "
    assert f"{checks}2s\n" in before
    configuration.write_text(before.replace(f"{checks}2s\n", f"{checks}60s\n"))


@contextlib.asynccontextmanager
async def running_edge(
    instances: int = 1,
    credentials: grpc.ServerCredentials | None = None,
    expect_ready: bool = True,
    expect_status: int = 200,
    **settings: Any,
) -> AsyncIterator[Edge]:
    """Starts services and Envoy, waits until the edge answers or is ready, and stops them all."""
    with tempfile.TemporaryDirectory(prefix="marquee-edge-") as name:
        folder = Path(name)
        jwks = tokens.ensure_keys(folder / "keys")
        services = [await Instance().start(credentials=credentials) for _ in range(instances)]
        addresses = [f"127.0.0.1:{service.port}" for service in services]
        given = EdgeSettings(
            **{
                "edge_port": free_port(),
                "admin_port": free_port(),
                "endpoints": dict.fromkeys(SERVICES, addresses),
                "jwks": jwks,
                "access_log": str(folder / "access.log"),
                **settings,
            }
        )
        _be_patient(render(given, folder / "envoy"))
        with (folder / "envoy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *envoy_command(folder / "envoy"), stdout=log, stderr=log
            )
        edge = Edge(folder, services, given, process)

        async def ready() -> bool:
            if process.returncode is not None:
                raise AssertionError(f"Envoy stopped: {(folder / 'envoy.log').read_text()}")
            with contextlib.suppress(httpx.TransportError):
                return (
                    await edge.http.get("/readyz" if expect_ready else "/healthz")
                ).status_code == expect_status
            return False

        try:
            await eventually(ready, what="a ready edge")
            yield edge
        finally:
            await edge.http.aclose()
            await edge.pages.aclose()
            if process.returncode is None:
                process.terminate()
                await process.wait()
            await asyncio.gather(*(service.stop() for service in services))


async def long_movie(request: Any, context: Any) -> movies_pb2.Movie:
    """Answers GetMovie with what is worth compressing."""
    await context.send_initial_metadata((("etag", '"v1"'),))
    return movies_pb2.Movie(name=request.name, plot="Two imprisoned men bond over a number of years. " * 200)
