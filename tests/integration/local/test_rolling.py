"""Everything of Marquee's own is replaced under load, and no call is lost."""

import asyncio
import socket
import ssl
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from edge import tokens
from local.stack import certificates
from local.stack.layout import HOST, Home, Stack
from mesh.services import SERVICES
from mesh.tls import OPERATOR, host_name
from tests.support.command import marquee, run
from tests.support.stacks import running
from tests.support.waiting import eventually

LOAD_S = 60.0


async def client(stack: Stack, number: int, stop: asyncio.Event, outcomes: Counter[str]) -> None:
    """Reads and writes without ever trying anything again."""
    token = tokens.issue(stack.home.tokens, f"user-{number}", tier="partner")
    headers = {"authorization": f"Bearer {token}"}
    calls = [
        ("GET", "/v1/movies/tt0111161", None),
        ("GET", "/v1/movies/tt0111161/score", None),
        ("GET", "/v1/charts/top-rated", None),
        ("GET", "/v1/users/me/ratings", None),
        ("PUT", "/v1/users/me/ratings/tt0111161", {"score": 7}),
    ]
    turn = number
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=15, headers=headers) as http:
        while not stop.is_set():
            verb, path, body = calls[turn % len(calls)]
            turn += 1
            try:
                answer = await http.request(verb, path, json=body)
                failed = "" if answer.status_code == 200 else f" {answer.text[:200]}"
                outcomes[f"{answer.status_code}{failed and f' {verb} {path}'}{failed}"] += 1
            except httpx.HTTPError as error:
                outcomes[f"{verb} {path} {error!r}"] += 1
            await asyncio.sleep(0.02)


@pytest.mark.timeout(600)
async def test_a_rolling_restart_of_everything_loses_no_call(tmp_path: Path) -> None:
    pairs = {service.name: 2 for service in SERVICES}
    processes = [service.process(role) for service in SERVICES for role in service.roles]
    home = Home(tmp_path / "home")
    with running(home, [], pairs) as stack:
        await warm(stack)
        outcomes: Counter[str] = Counter()
        stop = asyncio.Event()
        began = time.monotonic()
        load = [asyncio.create_task(client(stack, number, stop, outcomes)) for number in range(6)]
        try:
            await asyncio.sleep(2)
            await rotate(stack, outcomes)
            for name in [*processes, "envoy"]:
                before = Counter(outcomes)
                said = await asyncio.to_thread(marquee, home, "restart", name)
                during = outcomes - before
                lost = sum(count for outcome, count in during.items() if outcome != "200")
                print(f"{name}: {during.total()} calls, {lost} lost; {said.strip()}")
            await asyncio.sleep(max(0.0, LOAD_S - (time.monotonic() - began)))
        finally:
            stop.set()
            await asyncio.gather(*load)
        print(f"{outcomes.total()} calls in {time.monotonic() - began:.0f} s: {dict(outcomes)}")
        assert set(outcomes) == {"200"}, outcomes
        assert outcomes.total() > 500
        # A process has two seconds to say that it is well, which a busy machine may take by itself.
        await eventually(lambda: run(home, "status").returncode == 0, interval=0.5, what="a healthy status")


async def rotate(stack: Stack, outcomes: Counter[str]) -> None:
    """New certificates for all, taken up by every server while calls come in."""
    servers = [name for service in SERVICES for name in stack.names(service.name)]
    old = {name: await asyncio.to_thread(shown, stack, name) for name in servers}
    before, began = Counter(outcomes), time.monotonic()
    await asyncio.to_thread(marquee, stack.home, "certificates", "--rotate")

    async def rotated() -> bool:
        now = {name: await asyncio.to_thread(shown, stack, name) for name in servers}
        return all(now[name] != old[name] for name in servers)

    await eventually(rotated, timeout=60, what="new certificates at every service")
    await asyncio.sleep(2)  # what calls others opens its connections again within a second
    during = outcomes - before
    lost = sum(count for outcome, count in during.items() if outcome != "200")
    print(f"certificates: {during.total()} calls, {lost} lost; after {time.monotonic() - began:.1f} s")


def shown(stack: Stack, name: str) -> str:
    """The certificate that a server shows."""
    files = certificates.of(stack.home, OPERATOR)
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    service = name.partition(".")[0]
    with (
        socket.create_connection((HOST, stack.port(name, "grpc")), 5) as raw,
        context.wrap_socket(raw, server_hostname=host_name(service)) as secure,
    ):
        return str((secure.getpeercert() or {})["serialNumber"])


async def warm(stack: Stack) -> None:
    """Waits until each kind of call is answered: the first rating of a movie makes its score."""
    token = tokens.issue(stack.home.tokens, "first", tier="partner")
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=15) as http:
        path = "/v1/users/me/ratings/tt0111161"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            rated = await http.put(path, json={"score": 8}, headers={"authorization": f"Bearer {token}"})
            movie = await http.get("/v1/movies/tt0111161")
            if rated.status_code == movie.status_code == 200:
                return
            await asyncio.sleep(0.5)
    raise AssertionError(f"not warm: {rated.text} {movie.text}")
