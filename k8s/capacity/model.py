"""From the cost of a request to what a stage needs."""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
_GIB: Final = 1024**3
_DAY_S: Final = 86_400
_HOURS_A_MONTH: Final = 730
# What one process can keep busy. One of Python's has one interpreter, and so one core.
_MOST_CORES: Final = {"envoy": 4.0, "postgres": 16.0, "kafka": 8.0}
_ONLY_LOCAL: Final = {"etcd", "omdb"}
"""CloudNativePG asks Kubernetes itself who leads; OMDb is somebody else's."""
_ONLY_WITH_COPIES: Final = {"sentinel": "redis", "postgres-proxy": "postgres"}
"""Sentinels, and the poolers that stand where the local stack has its proxy."""


@dataclass(frozen=True)
class Measured:
    """What runs on a mesh have shown."""

    made: str
    """When and on what, in words."""
    cpu_us: Mapping[str, Mapping[str, float]]
    """CPU time of one request, in microseconds, by kind of request and process."""
    memory_mib: Mapping[str, float]
    """By process, in MiB, with MovieLens loaded."""
    row_bytes: float
    """Of one rating in PostgreSQL, with its indexes."""
    log_bytes: float
    """Of one rating in Kafka: its submission and its change."""
    movie_bytes: float
    """Of one movie in the memory of ranking_svc."""

    @classmethod
    def read(cls, path: Path = FOLDER / "measured.json") -> "Measured":
        return cls(**json.loads(path.read_text()))

    def of_mix(self, mix: Mapping[str, float]) -> dict[str, float]:
        """CPU-µs of each process, a request of a mix, given in shares of any sum."""
        whole = sum(mix.values())
        used: dict[str, float] = {}
        for kind, share in mix.items():
            for process, cost in self.cpu_us[kind].items():
                used[process] = used.get(process, 0.0) + cost * share / whole
        return used


@dataclass(frozen=True)
class Stage:
    """How many users, and what is kept ready for them."""

    name: str
    users: int
    """A day."""
    movies: int
    copies: Mapping[str, int]
    """Of each store: how many servers have all of it."""
    databases: int
    """Of ratings, each of which has a part of them."""
    servers: int
    """The fewest of each service."""
    memory_gib: Mapping[str, float]
    """Of each server of a store, where its caches are larger than those that were measured."""


@dataclass(frozen=True)
class Assumed:
    """Traffic and prices."""

    requests_a_user: float
    peak: float
    busy: float
    new_ratings: float
    years: float
    mix: Mapping[str, float]
    price: Mapping[str, float]
    stages: Iterable[Stage]

    @classmethod
    def read(cls, path: Path = FOLDER / "assumed.toml") -> "Assumed":
        given = tomllib.loads(path.read_text())
        stages = [Stage(name, **fields) for name, fields in given.pop("stages").items()]
        return cls(**given, stages=stages)


@dataclass(frozen=True)
class Need:
    """What one kind of process needs at a stage's peak."""

    process: str
    cores: float
    """That are busy, of all its pods together."""
    pods: int
    memory_gib: float
    """Of all its pods together."""


@dataclass(frozen=True)
class Plan:
    """What a stage needs."""

    stage: Stage
    mean: float
    """Requests a second, over a day."""
    peak: float
    ratings_a_day: float
    needs: tuple[Need, ...]
    rows_gib: float
    """Of ratings in PostgreSQL, on each copy."""
    log_gib: float
    """Of ratings in Kafka, on all brokers together."""
    cores: float
    """To be paid for: so many that no more than the share `busy` of them works at the peak."""
    dollars: float
    """A month."""

    def of(self, process: str) -> Need:
        return next(need for need in self.needs if need.process == process)

    @property
    def busy_cores(self) -> float:
        return sum(need.cores for need in self.needs)

    @property
    def memory_gib(self) -> float:
        return sum(need.memory_gib for need in self.needs)


def plan(stage: Stage, measured: Measured, assumed: Assumed, log_s: float) -> Plan:
    """Says what a stage needs.

    Args:
        log_s: how long Kafka keeps ratings, in seconds.
    """
    mean = stage.users * assumed.requests_a_user / _DAY_S
    peak = mean * assumed.peak
    used = measured.of_mix(assumed.mix)
    needs = tuple(
        _need(process, cost * peak / 1e6, stage, measured, assumed)
        for process, cost in sorted(used.items(), key=lambda item: -item[1])
        if process in measured.memory_mib and _is_there(process, stage)
    )
    ratings = mean * _DAY_S * assumed.mix["rate"] / sum(assumed.mix.values())
    rows = ratings * assumed.new_ratings * 365 * assumed.years * measured.row_bytes / _GIB
    log = ratings * log_s / _DAY_S * measured.log_bytes * stage.copies["kafka"] / _GIB
    cores = sum(need.cores for need in needs) / assumed.busy
    memory = sum(need.memory_gib for need in needs)
    disks = rows * stage.copies["postgres"] + log
    price = assumed.price
    hourly = cores * price["core_hour"] + memory * price["gib_hour"]
    dollars = hourly * _HOURS_A_MONTH + disks * price["gib_month"]
    return Plan(stage, mean, peak, ratings, needs, rows, log, cores, dollars)


def _is_there(process: str, stage: Stage) -> bool:
    store = _ONLY_WITH_COPIES.get(process)
    return process not in _ONLY_LOCAL and (store is None or stage.copies[store] > 1)


def _need(process: str, cores: float, stage: Stage, measured: Measured, assumed: Assumed) -> Need:
    fewest = stage.copies.get("redis" if process == "sentinel" else process, stage.servers)
    if process == "postgres":
        fewest *= stage.databases
    elif process == "postgres-proxy":
        fewest *= stage.databases * 2  # to the primary, and to the others
    pods = max(fewest, math.ceil(cores / (assumed.busy * _MOST_CORES.get(process, 1.0))))
    memory = measured.memory_mib[process] / 1024
    memory = max(memory, stage.memory_gib.get(process, 0.0))
    if process == "ranking_svc":
        memory += stage.movies * measured.movie_bytes / _GIB
    return Need(process, cores, pods, pods * memory)
