"""What is done to which part, and when: drawn from a seed alone, so that a seed repeats the plan of a run."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from local.stack.layout import Shape

Kind = Literal["kill", "pause", "restart", "lose"]

_PARTS = (
    "rating_svc",
    "rating_svc-worker",
    "rating_svc-relay",
    "ranking_svc-consumer",
    "kafka",
    "postgres",
    "redis",
    "envoy",
)
PARTS = {Shape.PLAIN: _PARTS, Shape.CLUSTER: (*_PARTS, "etcd", "postgres-proxy", "sentinel")}
OF_PAIRS = (*PARTS[Shape.CLUSTER], "movie_svc", "ranking_svc")

_GAP_S = (2.0, 7.0)
_PAUSE_S = (5.0, 20.0)
_KINDS: tuple[Kind, ...] = ("kill", "pause", "restart")
_AWAY_S = (5.0, 10.0)
_AWAY: tuple[Kind, ...] = ("lose", "pause")


@dataclass(frozen=True)
class Fault:
    """One blow at one process."""

    at_s: float
    """After the beginning of the run."""
    process: str
    """An instance's name, as `marquee status` shows it."""
    kind: Kind
    seconds: float = 0.0
    """Of a pause, and of a loss: how long."""

    @property
    def part(self) -> str:
        """The process whose instance it is."""
        return self.process.partition(".")[0]

    def __str__(self) -> str:
        what = {
            "kill": "SIGKILL",
            "restart": "restarted",
            "pause": f"SIGSTOP for {self.seconds:.1f} s",
            "lose": f"SIGKILL, and away for {self.seconds:.1f} s",
        }
        return f"{self.process}: {what[self.kind]}"


def draw(
    seed: int,
    count: int,
    instances: dict[str, int],
    parts: Sequence[str] = _PARTS,
    gap_s: tuple[float, float] = _GAP_S,
) -> list[Fault]:
    """A plan of `count` faults in the order of time.

    A pause lasts while others are struck; what is paused is let be until it goes on.
    """
    chance = random.Random(seed)
    paused_until: dict[str, float] = {}
    at, plan = 0.0, list[Fault]()
    while len(plan) < count:
        at += chance.uniform(*gap_s)
        part = chance.choice(parts)
        number = chance.randint(1, instances.get(part, 1))
        process = part if number == 1 else f"{part}.{number}"
        kind, seconds = chance.choice(_KINDS), chance.uniform(*_PAUSE_S)
        if paused_until.get(process, 0.0) > at:
            continue
        if kind == "pause":
            paused_until[process] = at + seconds
        plan.append(Fault(at, process, kind, seconds if kind == "pause" else 0.0))
    return plan


def draw_pairs(seed: int, count: int, instances: dict[str, int]) -> list[Fault]:
    """A plan of `count` pairs: two parts of different kinds at one moment, each lost or frozen for a while.

    No two pairs are of the same kinds. Moments are a second apart: who carries it out waits between them.
    """
    chance = random.Random(seed)
    plan = []
    for at, parts in enumerate(chance.sample(list(itertools.combinations(OF_PAIRS, 2)), count)):
        seconds = chance.uniform(*_AWAY_S)
        for part in parts:
            number = chance.randint(1, instances.get(part, 1))
            process = part if number == 1 else f"{part}.{number}"
            plan.append(Fault(float(at), process, chance.choice(_AWAY), seconds))
    return plan
