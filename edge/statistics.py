"""How calls to each release end, from Envoy's own statistics."""

import math
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from edge.upstreams import canary_hosts_of, canary_of

_TIMEOUT_S: Final = 2.0
_CLUSTER: Final = "envoy_cluster_name"
# gRPC statuses that are a service's fault, not its caller's: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
# INTERNAL, UNAVAILABLE, DATA_LOSS.
_FAULTS: Final = frozenset(f"envoy_cluster_grpc_{code}" for code in (2, 4, 12, 13, 14, 15))


class StatisticsError(RuntimeError):
    """Envoy does not tell its statistics."""


@dataclass(frozen=True)
class Sample:
    """Calls to one cluster over some time."""

    calls: int = 0
    faults: int = 0
    """Answers that are the service's fault, and calls that found no service."""
    within: Mapping[float, int] = field(default_factory=dict)
    """How many answers came within so many milliseconds, by Envoy's bounds."""
    healthy: int = 1
    """How many instances are healthy now."""

    def since(self, earlier: "Sample") -> "Sample | None":
        """What has come since `earlier`; None if Envoy has begun to count from zero again."""
        if self.calls < earlier.calls:
            return None
        return Sample(
            self.calls - earlier.calls,
            max(0, self.faults - earlier.faults),
            {bound: count - earlier.within.get(bound, 0) for bound, count in self.within.items()},
            self.healthy,
        )

    @property
    def timed(self) -> int:
        """How many answers were timed."""
        return max(self.within.values(), default=0)

    def quantile_ms(self, share: float) -> float:
        """The bound within which that share of all timed answers came."""
        enough = share * self.timed
        return min((bound for bound, count in self.within.items() if count >= enough), default=math.inf)

    def slower_than(self, bound_ms: float) -> int:
        """How many answers took longer than the largest of Envoy's bounds up to `bound_ms`."""
        return self.timed - max(
            (count for bound, count in self.within.items() if bound <= bound_ms), default=0
        )


def read(admin: str, service: str) -> tuple[Sample, Sample]:
    """The new release and the stable one of a service, from Envoy's start to now.

    `admin` is HOST:PORT of Envoy's admin page.

    Raises:
        StatisticsError: it does not answer.
    """
    names = f"^cluster\\.{service}(_canary(_hosts)?)?\\."
    pattern = rf"{names}(upstream_rq_(total|5xx|time)|membership_healthy|grpc\.\d+)$"
    url = f"http://{admin}/stats/prometheus?filter={quote(pattern)}"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return parse(answer.read().decode(), service)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise StatisticsError(f"Envoy's admin page at {admin} does not answer: {error}") from None


def parse(page: str, service: str) -> tuple[Sample, Sample]:
    """The samples of a service's two releases on Envoy's Prometheus page."""
    counted: defaultdict[tuple[str, str], int] = defaultdict(int)
    within: defaultdict[str, dict[float, int]] = defaultdict(dict)
    for family in text_string_to_metric_families(page):
        for full_name, labels, value, *_ in family.samples:
            # The parser gives counters that ending if they lack it.
            name = full_name.removesuffix("_total")
            cluster = labels.get(_CLUSTER, "")
            if name in _FAULTS:
                counted[cluster, "statuses"] += int(value)
            elif name == "envoy_cluster_upstream_rq_xx" and labels.get("envoy_response_code_class") == "5":
                counted[cluster, "5xx"] = int(value)
            elif name == "envoy_cluster_upstream_rq_time_bucket":
                within[cluster][float(labels["le"])] = int(value)
            else:
                counted[cluster, name] = int(value)

    def sample(cluster: str, hosts: str) -> Sample:
        # A call that found no service has a status of HTTP as well as one of gRPC.
        faults = max(counted[cluster, "5xx"], counted[cluster, "statuses"])
        return Sample(
            calls=max(faults, counted[hosts, "envoy_cluster_upstream_rq"]),
            faults=faults,
            within=within[cluster],
            healthy=counted[hosts, "envoy_cluster_membership_healthy"],
        )

    # What the new release's cluster counts as its hosts' calls leaves out those that went to the stable one.
    return sample(canary_of(service), canary_hosts_of(service)), sample(service, service)
