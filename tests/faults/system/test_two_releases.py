"""The next release beside this one, in place of it, and a rollback: nobody who reads or rates notices.

The next release brings migrations, fields and columns that this one does not know: see
`tests.support.releases`. Processes are replaced as an operator does it, by `marquee restart` with other code
in place.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from local.commands.movielens import sample_films
from local.stack import state as states
from local.stack.layout import Home, Stack
from local.supervision.processes import OWN
from local.supervision.rolling import restart
from tests.faults.cluster.probes import Watcher
from tests.faults.rating_svc import promises
from tests.faults.rating_svc.authors import Author, Journal, crowd, writing
from tests.support.checkout import ROOT
from tests.support.command import marquee
from tests.support.releases import NEW, Installed, next_release
from tests.support.stacks import running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

KINDS = [process.name for process in OWN]
AUTHORS, MOVIES = 12, 30
MORE = 150
PATIENCE_S = 120.0


class Place:
    """A mesh with two of each process of Marquee's own, with people who rate and read all the time."""

    def __init__(self, stack: Stack) -> None:
        movies = [str(body["imdbID"]) for body in sample_films()[:MOVIES]]
        self.stack = stack
        self.journal = Journal()
        self.people: list[Author] = crowd(stack, AUTHORS, 1, movies, self.journal)
        self.watcher = Watcher(stack, movies, self.journal)

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        async with writing(self.people, PATIENCE_S), self.watcher.watching():
            yield

    async def replaced(self, which: str = "") -> None:
        """Replaces the processes of every kind, or one of each; returns when all are ready."""
        began = time.monotonic()
        names = [f"{kind}{which}" for kind in KINDS]
        home = self.stack.home
        await asyncio.gather(*(asyncio.to_thread(restart, home, [name], print) for name in names))
        print(f"{which or 'all'} of {len(names)} kinds replaced in {time.monotonic() - began:.1f} s")

    async def more(self) -> datetime:
        """Waits for some more acknowledged writes; returns when it began, by PostgreSQL's clock."""
        [(began,)] = await self.sql("rating_svc", "SELECT now()")
        target = self.journal.acknowledged + MORE
        await eventually(lambda: self.journal.acknowledged >= target, PATIENCE_S, what="more writes")
        assert isinstance(began, datetime)
        return began

    async def sql(self, service: str, query: str, *args: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.stack.dsn(service))
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def written_by(self, since: datetime) -> tuple[int, int]:
        """How many submissions this release's workers have stored since then, and how many the next one's."""
        query = """
            SELECT count(*) FILTER (WHERE next_release IS NULL), count(*) FILTER (WHERE next_release = $2)
            FROM seen_requests WHERE seen_at > $1"""
        [(ours, theirs)] = await self.sql("rating_svc", query, since, NEW)
        return int(ours), int(theirs)

    def deaths(self) -> dict[str, int]:
        """How often each process of Marquee's own has ended so far."""
        state = states.live(self.stack.home)
        assert state is not None
        return {
            name: process.restarts
            for name, process in state.processes.items()
            if name.partition(".")[0] in KINDS
        }


async def test_two_releases_side_by_side_and_a_rollback_cost_nobody_anything(tmp_path: Path) -> None:
    following = await asyncio.to_thread(next_release, tmp_path / "next")
    installed = Installed(tmp_path / "installed")
    environment = {
        "MARQUEE_KAFKA_SESSION_TIMEOUT_S": "6",
        "MARQUEE_REDIS_TIMEOUT_S": "1.5",
        **installed.environment,
    }
    two = dict.fromkeys(KINDS, 2)
    with running(Home(tmp_path / "home"), [], two, environment=environment) as stack:
        place = Place(stack)
        async with place.busy():
            await place.more()
            installed.bring(following.folder)
            await place.replaced(".2")
            ran = await asyncio.gather(*(place.sql(each, "SELECT * FROM next_release") for each in SCHEMAS))
            assert ran == [[]] * len(SCHEMAS), "the next release has migrated"
            since = await place.more()
            await eventually(lambda: both_write(place, since), what="workers of both releases side by side")
            await place.replaced()
            since = await place.more()
            await eventually(lambda: all_by(place, since, ours=0), what="all written by the next release")
            installed.bring(ROOT)
            await place.replaced()
            since = await place.more()
            await eventually(lambda: all_by(place, since, theirs=0), what="all written by this release again")
        print(f"{place.journal.acknowledged} writes acknowledged; {dict(place.journal.errors)}")
        # For the next release and back, and of each kind one for what ran side by side: none died by itself.
        assert place.deaths() == {name: 3 if name.endswith(".2") else 2 for name in place.deaths()}
        # On a machine that is short of processors the edge may ask some to come back.
        errors = [what for series in place.watcher.series().values() for what in series.errors]
        assert [what for what in errors if "reached concurrency limit" not in what] == []
        assert place.journal.stale == []
        broken: list[str] = []
        await promises.converge(stack, broken)
        broken += await promises.compare(stack, place.people)
        assert broken + place.journal.unexpected == []
        assert " 0 differ" in marquee(stack.home, "verify")


SCHEMAS = ("movie_svc", "rating_svc", "ranking_svc")


async def both_write(place: Place, since: datetime) -> bool:
    return all(await place.written_by(since))


async def all_by(place: Place, since: datetime, ours: int | None = None, theirs: int | None = None) -> bool:
    found = await place.written_by(since)
    return any(found) and all(want in (None, have) for want, have in zip((ours, theirs), found, strict=True))
