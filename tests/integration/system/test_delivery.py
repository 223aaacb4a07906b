"""New builds of a real service on the whole mesh: a good one is delivered, a bad one rolled back."""

import asyncio
import contextlib
import itertools
import shutil
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from edge import tokens, trials
from local.stack.layout import Stack, checkout
from tests.support.command import marquee
from tests.support.repeating import connected, repeatedly
from tests.support.waiting import eventually

SERVICE = "movie_svc"
MOVIES = ("tt0111161", "tt0068646", "tt0133093", "tt0047478", "tt0034583")
BATCH = "/v1/movies:batchGet?" + "&".join(f"names=movies/{movie}" for movie in MOVIES)
STABLE_KEEP = "public, max-age=30"
CLIENTS = 12
USERS = 2000
# Where a changed build takes in what its change needs.
_FIRST_IMPORT = "from collections.abc import Iterable, Sequence\n"


class Build:
    """A copy of this checkout's code, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        left_out = shutil.ignore_patterns("__pycache__")
        for package in ("mesh", "edge", "envoy", SERVICE):
            shutil.copytree(checkout() / package, folder / package, ignore=left_out)

    def install(self) -> Path:
        """Gives it a Python of its own, which leaves a trace: this file."""
        python, trace = self.folder / ".venv" / "bin" / "python", self.folder / "trace"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\ntouch {trace}\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return trace

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has no longer what this test changes: {old}"
        path.write_text(text.replace(old, new))


class Traffic:
    """Reads of movie_svc through the edge: users' own, and anonymous ones that its cache may answer."""

    def __init__(self, stack: Stack) -> None:
        self._url = stack.edge_url
        keys = stack.home.tokens
        signed = (tokens.issue(keys, f"visitor-{number}", tier="partner") for number in range(USERS))
        self._bearers = [{"authorization": f"Bearer {token}"} for token in signed]
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """By release and outcome: a status, or what became of the call instead."""
        self.keeps: defaultdict[str, set[str]] = defaultdict(set)
        """What each release said of how long a batch may be kept."""
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        """For how many seconds each release was waited for in batches."""

    @property
    def touched(self) -> int:
        """How many answers came from the new release, good ones too."""
        return sum(count for (release, _), count in self.outcomes.items() if release == "canary")

    def counted(self, *outcomes: str) -> int:
        return sum(count for (_, outcome), count in self.outcomes.items() if outcome in outcomes)

    @property
    def failed(self) -> int:
        return self.outcomes.total() - self.counted("200")

    async def more(self, calls: int) -> None:
        target = self.outcomes.total() + calls

        async def enough() -> bool:
            return self.outcomes.total() >= target

        await eventually(enough, timeout=120, what=f"{calls} more answers")

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        turns = itertools.count()
        async with (
            connected(self._url, CLIENTS) as https,
            repeatedly(*(partial(self._turn, http, turns) for http in https)),
        ):
            yield

    async def _turn(self, http: httpx.AsyncClient, turns: Iterator[int]) -> None:
        turn = next(turns)
        bearer = self._bearers[turn % USERS]
        movie = f"/v1/movies/{MOVIES[turn % len(MOVIES)]}"
        match turn % 4:
            case 0:
                await self._ask(http, movie, {})
            case 1 | 2:
                await self._ask(http, movie, bearer)
            case _:
                await self._ask(http, BATCH, bearer)

    async def _ask(self, http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
        began = time.monotonic()
        try:
            answer = await http.get(path, headers=headers)
        except httpx.HTTPError as error:
            self.outcomes["nobody", repr(error)] += 1
            return
        release = answer.headers.get("x-marquee-release", "stable")
        self.outcomes[release, str(answer.status_code)] += 1
        if path == BATCH and answer.status_code == 200:
            self.keeps[release].add(answer.headers["cache-control"])
            self.took[release].append(time.monotonic() - began)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path / "next")


@pytest.fixture
async def traffic(mesh_stack: Stack) -> AsyncIterator[Traffic]:
    found = Traffic(mesh_stack)
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url, timeout=20) as http:
        # From here on, no call waits for OMDb.
        for movie in MOVIES:
            assert (await http.get(f"/v1/movies/{movie}")).status_code == 200
    yield found
    await asyncio.to_thread(marquee, mesh_stack.home, "canary", "stop", SERVICE)


async def start(stack: Stack, build: Build) -> None:
    said = await asyncio.to_thread(
        marquee, stack.home, "canary", "start", SERVICE, "--code", str(build.folder)
    )
    assert f"{SERVICE}-canary is process" in said


async def deliver(stack: Stack) -> None:
    assert "by controller" in await asyncio.to_thread(marquee, stack.home, "canary", "auto", SERVICE)


def phase(stack: Stack) -> str:
    return str(trials.load(stack.home.envoy).canaries[SERVICE].delivery.get("phase", ""))


def share(stack: Stack) -> float:
    return trials.load(stack.home.envoy).shares()[SERVICE]


async def test_a_good_build_gets_all_calls_step_by_step_and_none_fails(
    mesh_stack: Stack, build: Build, traffic: Traffic
) -> None:
    build.change(f"{SERVICE}/service.py", "_KEEP_LIST_S: Final = 30", "_KEEP_LIST_S: Final = 31")
    trace = build.install()
    seen: list[float] = []
    began = time.monotonic()
    async with traffic.flowing():
        await start(mesh_stack, build)
        await traffic.more(200)
        assert traffic.touched == 0, "nobody gets it before somebody says so"
        await deliver(mesh_stack)

        async def promoted() -> bool:
            percent = share(mesh_stack)
            if percent not in (0, *seen):
                seen.append(percent)
            return phase(mesh_stack) == "promoted"

        await eventually(promoted, timeout=240, what="the promotion")
        took = time.monotonic() - began
        before = Counter(traffic.outcomes)
        await traffic.more(300)
        late = traffic.outcomes - before
        # The only stable instance is replaced, as by the new code, and takes over again.
        await asyncio.to_thread(marquee, mesh_stack.home, "restart", SERVICE)
        said = await asyncio.to_thread(marquee, mesh_stack.home, "canary", "stop", SERVICE)
        assert "stopped" in said
        before = Counter(traffic.outcomes)
        await traffic.more(300)
        last = traffic.outcomes - before
    print(
        f"\na good build: {traffic.outcomes.total()} calls in {took:.0f} s, {traffic.failed} failed; {seen} %"
    )
    assert traffic.failed == 0, traffic.outcomes
    assert seen == [1, 5, 25, 50, 100]
    assert late["stable", "200"] <= CLIENTS, "at most what was under way"
    assert last["canary", "200"] <= CLIENTS, "at most what was under way"
    # Each release ran its own code, and no other's; with its own packages, where it has them.
    assert trace.exists()
    assert traffic.keeps == {"stable": {STABLE_KEEP}, "canary": {"public, max-age=31"}}


def fails(build: Build) -> None:
    """Every single movie ends in an exception."""
    build.change(
        f"{SERVICE}/service.py",
        "        number = names.movie_number(request.name)\n        cut = requests.mask(request)\n",
        "        number = self._numbers[request.name]\n        cut = requests.mask(request)\n",
    )


def is_slow(build: Build) -> None:
    """A batch takes far more than ten times as long."""
    build.change(f"{SERVICE}/service.py", _FIRST_IMPORT, f"import asyncio\n{_FIRST_IMPORT}")
    build.change(
        f"{SERVICE}/service.py",
        "        found = await self._reader.get_many(",
        "        await asyncio.sleep(3)\n        found = await self._reader.get_many(",
    )


Bug = Callable[[Build], None]


@pytest.mark.parametrize("bug", [fails, is_slow])
async def test_a_bad_build_is_taken_back_and_hardly_anybody_notices(
    mesh_stack: Stack, build: Build, traffic: Traffic, bug: Bug
) -> None:
    bug(build)
    async with traffic.flowing():
        await start(mesh_stack, build)
        await traffic.more(1500)
        began = time.monotonic()
        await deliver(mesh_stack)

        async def taken_back() -> bool:
            return phase(mesh_stack) == "rolled back"

        await eventually(taken_back, timeout=120, what="the roll-back")
        took = time.monotonic() - began
        by_then = traffic.touched
        await traffic.more(1500)
    shown = await asyncio.to_thread(marquee, mesh_stack.home, "canary", "show")
    status = await asyncio.to_thread(marquee, mesh_stack.home, "edge", "status")
    print(
        f"\n{bug.__name__}: touched {traffic.touched} of {traffic.outcomes.total()} calls, {traffic.failed} "
        f"failed; rolled back after {took:.1f} s; {shown.strip()}"
    )
    assert 3 <= traffic.touched < traffic.outcomes.total() * 0.01
    assert traffic.touched <= by_then + CLIENTS, "at most what was under way"
    assert share(mesh_stack) == 0
    assert f"{SERVICE}\t0 %\tby controller\trolled back: at 1 %" in shown
    assert "rolled back: at 1 %" in status
    # All that failed was the bug's.
    assert traffic.failed == traffic.outcomes["canary", "500"], traffic.outcomes
    if bug is fails:
        assert traffic.failed >= 3
        assert "calls failed" in shown
    else:
        assert traffic.failed == 0
        assert "calls took more than" in shown
        usual, planted = (statistics.median(traffic.took[release]) for release in ("stable", "canary"))
        print(f"a batch took {usual * 1000:.0f} ms, of the new build {planted * 1000:.0f} ms")
        assert planted > 10 * usual


async def test_a_build_that_does_not_start_gets_no_calls(
    mesh_stack: Stack, build: Build, traffic: Traffic
) -> None:
    build.change(f"{SERVICE}/service.py", _FIRST_IMPORT, f"import no_such_module\n{_FIRST_IMPORT}")
    async with traffic.flowing():
        said = await asyncio.to_thread(
            marquee, mesh_stack.home, "canary", "start", SERVICE, "--code", str(build.folder), code=1
        )
        assert "ended before it was ready" in said
        await deliver(mesh_stack)
        await traffic.more(300)
    assert traffic.failed == traffic.touched == 0, traffic.outcomes
