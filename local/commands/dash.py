"""`marquee dash`: the mesh as it works, from what its processes and Envoy measure themselves."""

import math
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge import status as edge_status
from local.stack.layout import Stack

# What a service answers when it is at fault, not its caller.
_FAULTS: Final = ("Unknown", "DeadlineExceeded", "Internal", "Unavailable", "DataLoss")
_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class Process:
    """The counters of one process, since it started."""

    calls: float = 0.0
    faults: float = 0.0
    in_flight: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)
    """How many RPCs took at most so many seconds."""
    lags: Mapping[str, float] = field(default_factory=dict)
    """How many messages each of its readers has not stored yet."""


@dataclass(frozen=True)
class Look:
    """One look at the mesh."""

    at: float
    """In seconds, by a clock that never goes back."""
    edge: edge_status.EdgeStatus | None
    """None while Envoy does not answer."""
    processes: Mapping[str, Process | None]
    """None: it does not answer."""


def read(text: str) -> Process:
    """What a page of metrics says."""
    calls = faults = in_flight = 0.0
    buckets: dict[float, float] = defaultdict(float)
    lags: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "grpc_server_handled_total":
                calls += sample.value
                faults += sample.value if sample.labels["grpc_code"] in _FAULTS else 0
            elif sample.name == "grpc_server_in_flight":
                in_flight += sample.value
            elif sample.name == "grpc_server_handling_seconds_bucket":
                if sample.labels["grpc_type"] == "unary":
                    buckets[float(sample.labels["le"])] += sample.value
            elif sample.name == "marquee_kafka_consumer_lag_messages":
                lags[sample.labels["reader"]] += sample.value
    return Process(calls, faults, in_flight, dict(buckets), dict(lags))


def look(stack: Stack) -> Look:
    """Asks all of them, at once."""
    names = sorted(
        name for name, _, purpose in (key.partition("/") for key in stack.ports) if purpose == "metrics"
    )

    def ask(name: str) -> Process | None:
        url = f"http://{stack.address(name, 'metrics')}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                return read(answer.read().decode())
        except (OSError, ValueError):
            return None

    with ThreadPoolExecutor(8) as threads:
        found = dict(zip(names, threads.map(ask, names), strict=True))
    try:
        edge = edge_status.look(f"http://{stack.address('envoy', 'admin')}", stack.home.envoy)
    except (OSError, KeyError):
        edge = None
    return Look(time.monotonic(), edge, found)


def quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float | None:
    """How long such a share of the RPCs between two looks took at most, in seconds; None: there were none."""
    grown = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = grown.get(math.inf, 0.0)
    if total <= 0:
        return None
    return next(bound for bound, count in grown.items() if count >= share * total)


def show(before: Look, after: Look) -> Group:
    """The page: what happened between two looks."""
    seconds = max(after.at - before.at, 1e-3)
    return Group(_edge_line(before, after, seconds), Text(), _table(before, after, seconds))


def _edge_line(before: Look, after: Look, seconds: float) -> Text:
    if after.edge is None:
        return Text("the edge does not answer: see `marquee logs envoy`", style="bold red")
    old, new = before.edge or after.edge, after.edge
    hits, misses = new.cache_hits - old.cache_hits, new.cache_misses - old.cache_misses
    cached = f"{100 * hits / (hits + misses):.0f} %" if hits + misses > 0 else "–"
    failed = (new.failed - old.failed) / seconds
    line = Text(f"edge  {(new.total - old.total) / seconds:,.0f} requests/s   ", style="bold")
    line.append(f"{failed:,.1f} failed/s", style="bold red" if failed > 0 else "")
    line.append(
        f"   {(new.limited - old.limited) / seconds:,.1f} limited/s   {cached} from its cache", style=""
    )
    line.append(f"   {new.active} under way   {new.connections} connections", style="")
    return line


def _table(before: Look, after: Look, seconds: float) -> Table:
    lines = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("process", "calls/s", "faults/s", "half within", "99 % within", "under way", "behind"):
        lines.add_column(column, justify="left" if column == "process" else "right")
    for name, new in after.processes.items():
        if new is None:
            lines.add_row(name, Text("does not answer", style="red"))
            continue
        old = before.processes.get(name) or Process()
        if old.calls > new.calls:  # it was started again
            old = Process()
        faults = (new.faults - old.faults) / seconds
        lag = sum(new.lags.values())
        lines.add_row(
            name,
            f"{(new.calls - old.calls) / seconds:,.1f}" if new.buckets else "",
            Text(f"{faults:,.1f}", style="red" if faults > 0 else "") if new.buckets else "",
            _duration(quantile(old.buckets, new.buckets, 0.5)),
            _duration(quantile(old.buckets, new.buckets, 0.99)),
            f"{new.in_flight:,.0f}" if new.buckets else "",
            f"{lag:,.0f}" if new.lags else "",
        )
    return lines


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if math.isinf(seconds):
        return "over 10 s"
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def run(stack: Stack, every_s: float, console: Console, rounds: int = 0) -> None:
    """Shows the mesh until Ctrl-C, or so many times."""
    before = look(stack)
    if not console.is_terminal:
        for _ in range(rounds or 1):
            time.sleep(every_s)
            after = look(stack)
            console.print(show(before, after))
            before = after
        return
    with Live(show(before, before), console=console, screen=True, auto_refresh=False) as live:
        shown = 0
        while not rounds or shown < rounds:
            time.sleep(every_s)
            after = look(stack)
            live.update(show(before, after), refresh=True)
            before = after
            shown += 1
