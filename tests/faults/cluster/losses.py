"""Each kind of part of a cluster is lost permanently and frozen, under load, and what that costs is measured.

    python -m tests.faults.cluster.losses [--only postgres …] [--write docs/operations/cluster.md]

`--write` puts the table into the page, in place of the one before.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from local.cluster.patroni import server_pids
from local.commands.movielens import sample_films
from local.commands.status import look
from local.stack import state as states
from local.stack.layout import Shape, Stack
from tests.faults.cluster.probes import Watcher
from tests.faults.rating_svc import promises
from tests.faults.rating_svc.authors import Journal, crowd, writing
from tests.faults.rating_svc.checker import mesh
from tests.support.parts import answers, holder, hung, pids_of, send, unattended
from tests.support.waiting import eventually

How = Literal["lost", "frozen", "server killed"]

_USUAL_S = 10.0
# Longer than Patroni's TTL of 20 s, and than brokers need for a new controller on a starved machine.
_MACHINE_S = 30.0
_MENDED_S = 180.0
_CALM_S = 3.0
_AUTHORS = 8
_MOVIES = 30
_MARKS = ("<!-- pauses -->", "<!-- /pauses -->")


@dataclass(frozen=True)
class Loss:
    """One thing that is done to one kind of part."""

    part: str
    how: How
    role: str = ""
    """Which of its like: the one that has this role now; the first if all are alike."""
    seconds: float = _USUAL_S

    def __str__(self) -> str:
        return f"{self.part}{f' ({self.role})' if self.role else ''}: {self.how}"


_PLACES = (
    ("kafka", "controller", _MACHINE_S),
    ("kafka", "broker", _MACHINE_S),
    ("postgres", "leader", _MACHINE_S),
    ("postgres", "sync standby", _USUAL_S),
    ("postgres-proxy", "", _USUAL_S),
    ("etcd", "leader", _USUAL_S),
    ("redis", "master", _USUAL_S),
    ("sentinel", "", _USUAL_S),
    ("movie_svc", "", _USUAL_S),
    ("rating_svc", "", _USUAL_S),
    ("rating_svc-worker", "", _USUAL_S),
    ("rating_svc-relay", "", _USUAL_S),
    ("ranking_svc", "", _USUAL_S),
    ("ranking_svc-consumer", "", _USUAL_S),
)
_HOW: tuple[How, ...] = ("lost", "frozen")
LOSSES = (
    Loss("postgres", "server killed", "leader"),
    *(Loss(part, how, role, seconds) for part, role, seconds in _PLACES for how in _HOW),
)


@dataclass(frozen=True)
class Cost:
    """What a loss cost."""

    loss: Loss
    pauses: dict[str, float]
    """The longest time without a success, in seconds: of reads, of writes, of storing."""
    failed: dict[str, int]
    """Calls that failed."""


@dataclass(frozen=True)
class Outcome:
    """What came of all."""

    costs: list[Cost]
    acknowledged: int
    broken: list[str]
    """Promises that were broken, in words."""
    memory_mib: float


async def run(stack: Stack, losses: Sequence[Loss], seed: int = 1) -> Outcome:
    """Strikes one after the other on a fresh cluster under load, and checks every promise at the end."""
    movies = [str(body["imdbID"]) for body in sample_films()[:_MOVIES]]
    journal, broken, costs = Journal(), list[str](), list[Cost]()
    people = crowd(stack, _AUTHORS, seed, movies, journal)
    watcher = Watcher(stack, movies, journal)
    async with writing(people, _MENDED_S), watcher.watching():
        await asyncio.sleep(2 * _CALM_S)
        for loss in losses:
            costs.append(await _measure(stack, loss, watcher))
    await promises.converge(stack, broken)
    broken += await promises.compare(stack, people)
    broken += journal.unexpected
    running = states.live(stack.home)
    assert running is not None
    memory = (await asyncio.to_thread(look, stack.home, running)).memory_mib
    return Outcome(costs, journal.acknowledged, broken, memory)


async def _measure(stack: Stack, loss: Loss, watcher: Watcher) -> Cost:
    name = await _name(stack, loss)
    before = {kind: series.failed for kind, series in watcher.series().items()}
    began = time.monotonic()
    async with _struck(stack, name, loss):
        await asyncio.sleep(loss.seconds)
    await eventually(lambda: answers(stack), _MENDED_S, 0.5, what=f"all parts after {loss}")
    await asyncio.sleep(_CALM_S)
    ended = time.monotonic()
    cost = Cost(
        loss,
        {kind: series.pause(began, ended) for kind, series in watcher.series().items()},
        {kind: series.failed - before[kind] for kind, series in watcher.series().items()},
    )
    print(f"{loss}: {cost.pauses}, failed {cost.failed}", flush=True)
    return cost


@contextlib.asynccontextmanager
async def _struck(stack: Stack, name: str, loss: Loss) -> AsyncIterator[None]:
    if loss.how == "server killed":
        send(server_pids(stack, name), signal.SIGKILL)
        yield
    elif loss.how == "frozen":
        with hung(*pids_of(stack, name)):
            yield
    else:
        with unattended(stack):
            send(pids_of(stack, name), signal.SIGKILL)
            yield


async def _name(stack: Stack, loss: Loss) -> str:
    """The instance that is struck."""
    return await holder(stack, loss.part, loss.role) if loss.role else stack.names(loss.part)[0]


def markdown(outcome: Outcome) -> str:
    """The table."""
    lines = [
        "| lost | reads pause | writes pause | storing pauses | failed reads, writes |",
        "|---|---|---|---|---|",
    ]
    for cost in outcome.costs:
        pauses = " | ".join(f"{cost.pauses[kind]:.1f} s" for kind in ("reads", "writes", "stored"))
        lines.append(f"| {cost.loss} | {pauses} | {cost.failed['reads']}, {cost.failed['writes']} |")
    return "\n".join(lines)


def write(page: Path, outcome: Outcome) -> None:
    """Puts the table between its marks in a page. Rows of losses that this run left out stay."""
    begin, end = _MARKS
    marked = f"{re.escape(begin)}.*{re.escape(end)}"
    whole = page.read_text()
    before = re.search(marked, whole, flags=re.S)
    assert before is not None, f"{page} has no {begin}"
    rows = {row.split(" | ")[0]: row for row in before.group().splitlines() if re.match(r"\| .*: ", row)}
    head, rule, *new = markdown(outcome).splitlines()
    rows |= {row.split(" | ")[0]: row for row in new}
    made = f"Made by `python -m tests.faults.cluster.losses --write {page}` on {os.cpu_count()} cores"
    lines = [begin, "", f"{made} with a load of {os.getloadavg()[2]:.0f}.", "", head, rule, *rows.values()]
    text = "\n".join([*lines, "", end])
    page.write_text(re.sub(marked, lambda _: text, whole, flags=re.S))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cluster.losses", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    given = parser.parse_args()
    losses = [loss for loss in LOSSES if not given.only or loss.part in given.only]
    with (
        tempfile.TemporaryDirectory(prefix="marquee-losses-") as folder,
        mesh(Path(folder), shape=Shape.CLUSTER) as stack,
    ):
        outcome = asyncio.run(run(stack, losses))
    print(markdown(outcome))
    print(
        f"{outcome.acknowledged} writes acknowledged, {outcome.memory_mib:.0f} MiB; broken: {outcome.broken}"
    )
    if given.write:
        write(given.write, outcome)
    raise SystemExit(1 if outcome.broken else 0)


if __name__ == "__main__":
    main()
