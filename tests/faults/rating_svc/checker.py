"""The fault checker: users rate through the edge while parts break; then every promise is checked.

    python -m tests.faults.rating_svc.checker [--seed 7] [--faults 60] [--part kafka …] [--plant BUG]

It runs a whole mesh of its own. What is struck, and when, follows from the seed
alone, which it prints. `--plant` runs the mesh with a bug from `planted/`
in it: the checker is good for something only if it then finds broken promises.
"""

import argparse
import asyncio
import contextlib
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.commands.movielens import sample_films
from local.stack.layout import Home, Shape, Stack
from local.supervision.processes import usual_instances
from tests.faults.rating_svc import promises
from tests.faults.rating_svc.authors import Author, Journal, crowd, writing
from tests.faults.rating_svc.breaker import Breaker
from tests.faults.rating_svc.plan import PARTS, Fault, draw
from tests.support.stacks import running

INSTANCES = {
    Shape.PLAIN: {"rating_svc": 2, "rating_svc-worker": 2, "rating_svc-relay": 2, "ranking_svc-consumer": 2},
    Shape.CLUSTER: usual_instances(Shape.CLUSTER),
}
BUGS = ("offsets_before_the_transaction", "no_inbox_check")

_FINISH_S = 120.0
_SHOWN = 20
# Recorded answers, which another fixture may have named, lack some of the films that are rated here.
_NOT_HERE = ("MARQUEE_OMDB_ANSWERS",)
_MOVIES = 30
# Redis keeps nothing on disk: what was pending when it died shows again only once it is stored.
_STALE_AFTER_REDIS_S = 60.0


@dataclass
class Findings:
    """What came of a run."""

    seed: int
    journal: Journal = field(default_factory=Journal)
    struck: list[tuple[float, Fault]] = field(default_factory=list)
    mended_s: float = 0.0
    """From the last fault until every process was up again."""
    converged_s: float = 0.0
    """From then until all was stored, handed on and counted."""
    broken: list[str] = field(default_factory=list)
    """Promises that were broken, in words."""


@contextlib.contextmanager
def mesh(folder: Path, plant: str = "", shape: Shape = Shape.PLAIN) -> Iterator[Stack]:
    """A whole mesh, with two instances of what can be two at least; with a planted bug, if any."""
    environment = {
        # A starved test machine must not look like a Redis that is away: those reads may be stale.
        "MARQUEE_REDIS_TIMEOUT_S": "1.5",
        "MARQUEE_KAFKA_SESSION_TIMEOUT_S": "6",
    }
    if plant:
        # Python runs the `sitecustomize` that it finds first, before anything else.
        environment["PYTHONPATH"] = str(Path(__file__).parent / "planted" / plant)
    before = {name: os.environ.get(name) for name in (*environment, *_NOT_HERE)}
    for name in _NOT_HERE:
        os.environ.pop(name, None)
    os.environ.update(environment)
    try:
        with running(Home(folder), [], INSTANCES[shape], shape=shape) as stack:
            yield stack
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def check(
    stack: Stack,
    seed: int,
    plan: Sequence[Fault],
    *,
    authors: int = 20,
    apart_s: float = 0.0,
    within_s: float = math.inf,
    say: Callable[[str], None] = print,
) -> Findings:
    """Runs authors and a plan on a fresh mesh, and gives what was found; see `Breaker` for the times."""
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    tell(f"seed {seed}: {len(plan)} faults within {plan[-1].at_s:.0f} s")
    findings = Findings(seed)
    movies = [str(body["imdbID"]) for body in sample_films()[:_MOVIES]]
    people = crowd(stack, authors, seed, movies, findings.journal)
    await _trouble(people, Breaker(stack, tell, apart_s, within_s), plan, findings)
    tell(f"mended after {len(findings.struck)} faults; {findings.journal.acknowledged} writes acknowledged")
    mended = time.monotonic()
    await promises.converge(stack, findings.broken)
    findings.converged_s = time.monotonic() - mended
    findings.broken += await promises.compare(stack, people)
    findings.broken += findings.journal.unexpected
    findings.broken += _stale_without_excuse(findings)
    tell("compared")
    return findings


async def _trouble(
    people: Sequence[Author], breaker: Breaker, plan: Sequence[Fault], findings: Findings
) -> None:
    try:
        async with writing(people, _FINISH_S):
            await breaker.run(plan)
            findings.mended_s = time.monotonic() - breaker.struck[-1][0]
    finally:
        findings.struck = breaker.struck


def _stale_without_excuse(findings: Findings) -> list[str]:
    away = [(at, at + f.seconds + _STALE_AFTER_REDIS_S) for at, f in findings.struck if f.part == "redis"]
    return [
        f"stale read, and Redis was there: {read.what}"
        for read in findings.journal.stale
        if not any(begin <= read.at <= end for begin, end in away)
    ]


def report(findings: Findings) -> str:
    """A run in a few lines."""
    journal = findings.journal
    took = statistics.quantiles(journal.took_s, n=100) if len(journal.took_s) > 1 else [0.0] * 99
    lines = [
        f"seed {findings.seed}: {len(findings.struck)} faults; {journal.acknowledged} writes acknowledged of "
        f"{journal.attempts} attempts; {journal.repeats} sent again later",
        f"a write until its answer, tries included: p50 {took[49] * 1000:.0f} ms, p99 {took[98]:.1f} s, "
        f"longest {max(journal.took_s, default=0):.1f} s",
        f"errors that clients saw: {dict(journal.errors)}",
        f"stale reads after Redis was struck: {len(journal.stale)}",
        f"all processes up {findings.mended_s:.1f} s after the last fault, "
        f"converged {findings.converged_s:.1f} s later",
        f"broken promises: {len(findings.broken)}",
        *(f"  {text}" for text in findings.broken[:_SHOWN]),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rating_svc.checker", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--authors", type=int, default=20)
    parser.add_argument("--shape", type=Shape, choices=list(Shape), default=Shape.PLAIN)
    parser.add_argument(
        "--part",
        dest="parts",
        action="append",
        choices=PARTS[Shape.CLUSTER],
        help="strike only this; repeatable",
    )
    parser.add_argument("--plant", default="", choices=BUGS)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="marquee-faults-") as folder,
        mesh(Path(folder), given.plant, given.shape) as stack,
    ):
        plan = draw(given.seed, given.faults, INSTANCES[given.shape], given.parts or PARTS[given.shape])
        findings = asyncio.run(check(stack, given.seed, plan, authors=given.authors))
    print(report(findings))
    raise SystemExit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
