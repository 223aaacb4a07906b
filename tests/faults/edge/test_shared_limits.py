"""Two Envoys that share their clients' limits, and what happens when the service that counts is away."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from edge import shared_limits
from edge.limits import CLASSES, DEFAULT_FILE, Limits
from local.servers.redis_server import binary as redis_binary
from tests.support.edge.mesh import Edge, running_edge
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[3]
MOVIE = "/v1/movies/tt0111161"
BURST, SHARED = 100, 160


@dataclass
class Service:
    """The rate-limit service with its Redis."""

    port: int
    process: asyncio.subprocess.Process
    redis: asyncio.subprocess.Process


@pytest.fixture(scope="module")
def binary() -> str:
    """Built if need be, which takes a minute or two."""
    built = subprocess.run([ROOT / "scripts" / "ratelimit.sh"], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the rate-limit service can't be built here: {built.stderr.strip().splitlines()[-1]}")
    return built.stdout.strip()


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    given = yaml.safe_load(DEFAULT_FILE.read_text())
    given["tiers"] = {
        tier: {kind: {"burst": BURST, "per_second": 1} for kind in CLASSES} for tier in given["tiers"]
    }
    path = tmp_path / "limits.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@pytest.fixture
async def service(binary: str, limits: Path, tmp_path: Path) -> AsyncIterator[Service]:
    folder = tmp_path / "runtime" / "marquee" / "config"
    folder.mkdir(parents=True)
    config = shared_limits.service_config(Limits.load(limits))
    (folder / "limits.yaml").write_text(yaml.safe_dump(config))
    port, redis_port, http, debug = (free_port() for _ in range(4))
    with (tmp_path / "log").open("wb") as log:
        redis = await asyncio.create_subprocess_exec(
            *(str(redis_binary()), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""),
            stdout=log,
            stderr=log,
        )
        # It ends where it finds no Redis as it starts.
        await eventually(partial(_listens, redis_port), what="Redis")
        process = await asyncio.create_subprocess_exec(
            binary,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                **{"HOST": "127.0.0.1", "DEBUG_HOST": "127.0.0.1", "GRPC_HOST": "127.0.0.1"},
                **{"PORT": str(http), "DEBUG_PORT": str(debug), "GRPC_PORT": str(port)},
                **{"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"127.0.0.1:{redis_port}"},
                **{"RUNTIME_ROOT": str(tmp_path / "runtime"), "RUNTIME_SUBDIRECTORY": "marquee"},
                **{"USE_STATSD": "false", "RUNTIME_WATCH_ROOT": "false"},
            },
        )

    async def healthy() -> bool:
        if process.returncode is not None:
            raise AssertionError(f"the rate-limit service stopped: {(tmp_path / 'log').read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{http}/healthcheck")).status_code == 200
        return False

    try:
        await eventually(healthy, what="a healthy rate-limit service")
        yield Service(port, process, redis)
    finally:
        for each in (process, redis):
            if each.returncode is None:
                each.kill()
            await each.wait()


async def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


@pytest.fixture
async def edges(service: Service, limits: Path) -> AsyncIterator[tuple[Edge, Edge]]:
    address = f"127.0.0.1:{service.port}"
    async with (
        running_edge(limits_file=limits, rate_limit_service=address) as one,
        running_edge(limits_file=limits, rate_limit_service=address) as other,
    ):
        yield one, other


async def asked(edge: Edge, user: str, calls: int) -> Counter[int]:
    headers = edge.bearer(user)
    outcomes: Counter[int] = Counter()
    for _ in range(calls):
        outcomes[(await edge.http.get(MOVIE, headers=headers)).status_code] += 1
    return outcomes


async def early_in_a_minute() -> None:
    """The service counts by the clock's minutes; a new one would let a client begin again."""

    async def early() -> bool:
        return time.time() % 60 < 45

    await eventually(early, what="the next minute")


async def test_two_edges_count_together(edges: tuple[Edge, Edge]) -> None:
    await early_in_a_minute()
    one, other = edges
    first = await asked(one, "ann", BURST)
    assert first == {200: BURST}
    second = await asked(other, "ann", SHARED - BURST)
    assert second == {200: SHARED - BURST}
    assert (await asked(other, "bob", 10)) == {200: 10}, "another user does not feel it"
    refused = await other.http.get(MOVIE, headers=other.bearer("ann"))
    assert refused.status_code == 429, "its own bucket still has some"
    assert refused.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-limit"].startswith(f"{SHARED}, {SHARED};w=60")
    assert refused.headers["ratelimit-remaining"] == "0"
    assert 0 < int(refused.headers["ratelimit-reset"]) <= 60


async def test_without_the_service_each_edge_counts_alone(edges: tuple[Edge, Edge], service: Service) -> None:
    service.process.kill()
    await service.process.wait()
    began = time.monotonic()
    outcomes = await asked(edges[0], "ann", 2 * BURST)
    elapsed = time.monotonic() - began
    assert BURST <= outcomes[200] <= BURST + elapsed + 1, "the local bucket still holds"
    assert set(outcomes) == {200, 429}


@pytest.mark.parametrize("part", ["the service", "its Redis"])
async def test_one_that_hangs_costs_a_few_calls_20_ms(
    edges: tuple[Edge, Edge], service: Service, part: str
) -> None:
    edge = edges[0]
    total = "cluster.rate_limit_service.upstream_rq_total"
    hanging = service.process if part == "the service" else service.redis
    await asked(edge, "warm", 20)
    hanging.send_signal(signal.SIGSTOP)
    try:
        before = (await edge.stats(f"^{total}$"))[total]
        for _ in range(60):
            assert (await edge.http.get(MOVIE, headers=edge.bearer("ann"))).status_code == 200
        waited = (await edge.stats(f"^{total}$"))[total] - before
        assert 0 < waited < 30, f"{waited} of 60 calls asked it, and waited"
        outcomes = await asked(edge, "ann", 2 * BURST)
        assert outcomes[429] > 0, "the local bucket still holds"
    finally:
        hanging.send_signal(signal.SIGCONT)

    async def counting_again() -> bool:
        return "ratelimit-limit" in (await edge.http.get(MOVIE, headers=edge.bearer("eve"))).headers

    await eventually(counting_again, timeout=30, what="shared limits again")
