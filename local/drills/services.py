"""Drills of what serves: OMDb, a worker, a release and a certificate."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

from edge import canary
from local.commands import canaries
from local.drills.model import Ground
from local.drills.stores import POISON_KEY
from local.servers import services
from local.stack import authority
from local.stack.layout import StackError

WORKER: Final = "rating_svc-worker"
MOVIES: Final = "movie_svc"

_CONTROL_S: Final = 5.0
_SLOW_MS: Final = 10_000
_BAD_RELEASE: Final = Path(__file__).parent / "bad_release"
_NEARLY_OVER_DAYS: Final = 0.5
_LETTER: Final = re.compile(rf"^(\d+:\d+) (?:.*\n(?!\d))*?  key: {POISON_KEY!r}$", re.MULTILINE)
_LETTER_S: Final = 15.0
_DLQ_S: Final = 30.0
# Longer than from one scrape to the next, so that each life is seen.
_LIVES_S: Final = 8.0
_COUNT: Final = "movie_svc.omdb_calls"
_TODAY: Final = "(clock_timestamp() AT TIME ZONE 'UTC')::date"


async def slow_omdb(ground: Ground) -> None:
    await _note_quota(ground)
    await _control(ground, latency_ms=_SLOW_MS)


async def quick_omdb(ground: Ground) -> None:
    await _control(ground, latency_ms=0)
    await restore_quota(ground)


async def use_quota(ground: Ground) -> None:
    """Counts so many calls as were made that the day has."""
    await _note_quota(ground)
    limit = int(await ground.alerts.value("max(marquee_omdb_quota_limit)") or 0)
    await _set_quota(ground, limit)


async def restore_quota(ground: Ground) -> None:
    """The count as it was: what the drill has asked for since is no user's."""
    if "used" in ground.notes:
        await _set_quota(ground, int(ground.notes["used"]))


async def bury_poison(ground: Ground) -> None:
    """Discards the letters of the drill: what nobody can read can't be redriven."""
    deadline = time.monotonic() + (_LETTER_S if ground.notes.get("sent") else 0)
    while not (found := await asyncio.to_thread(_poison_letters, ground)):
        if time.monotonic() > deadline:
            return  # whoever followed the runbook has discarded it
        await asyncio.sleep(0.5)
    await asyncio.to_thread(_dlq, ground, "discard", *found)


async def crash_worker(ground: Ground) -> None:
    """Kills the worker each time that it has been there for long enough to be seen."""
    while True:
        found = ground.process(WORKER)
        if found.alive and found.condition == "ready":
            await asyncio.sleep(_LIVES_S)
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)


async def start_bad_release(ground: Ground) -> None:
    """Starts a release with a bug beside the stable one, and lets the controller deliver it."""
    if MOVIES in canaries.processes(ground.home):
        raise StackError(
            f"another release of {MOVIES} is on trial: end it first, `marquee canary stop {MOVIES}`"
        )
    ground.keep(ours=True)
    await asyncio.to_thread(canaries.start, MOVIES, code=_BAD_RELEASE, env=None)
    canary.deliver(ground.home.envoy, MOVIES)


async def stop_bad_release(ground: Ground) -> None:
    if ground.notes.get("ours"):
        await asyncio.to_thread(canaries.end, ground.home, MOVIES)


async def age_certificate(ground: Ground) -> None:
    """Gives movie_svc a certificate that ends within a day; it is valid until then."""
    await asyncio.to_thread(authority.issue, ground.home.certificates, MOVIES, _NEARLY_OVER_DAYS)


async def renew_certificate(ground: Ground) -> None:
    await asyncio.to_thread(authority.issue, ground.home.certificates, MOVIES)


async def _note_quota(ground: Ground) -> None:
    used = await ground.sql("postgres", f"SELECT used FROM {_COUNT} WHERE day = {_TODAY}")  # noqa: S608
    ground.keep(used=used or 0)


async def _set_quota(ground: Ground, used: int) -> None:
    await ground.sql("postgres", f"UPDATE {_COUNT} SET used = {used}, day = {_TODAY}")  # noqa: S608


def _poison_letters(ground: Ground) -> list[str]:
    return _LETTER.findall(_dlq(ground, "show"))


def _dlq(ground: Ground, *words: str) -> str:
    """What rating_svc's own command says."""
    command = [sys.executable, "-m", "rating_svc", "dlq", *words]
    variables = {**os.environ, **services.stores(ground.stack, "rating_svc")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=_DLQ_S)
    if done.returncode:
        raise StackError(f"the dead letters can't be read: {done.stderr.strip()}")
    return done.stdout


async def _control(ground: Ground, **wish: object) -> None:
    url = f"http://{ground.stack.address('omdb', 'http')}/_simulator"
    request = urllib.request.Request(url, json.dumps(wish).encode(), method="POST")

    def send() -> None:
        with contextlib.closing(urllib.request.urlopen(request, timeout=_CONTROL_S)):  # noqa: S310
            return

    try:
        await asyncio.to_thread(send)
    except OSError as error:
        raise StackError(f"OMDb's simulator does not answer, see `marquee status`: {error}") from error
