"""Ready answers: bytes with their headers, good for as long as the charts are as they were."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from ranking_svc import metrics
from ranking_svc.chart import Chart

Headers = tuple[tuple[str, str], ...]

# Heat fades with every second that passes, without any change.
_KEPT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it goes out."""

    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class _Kept:
    chart: Chart
    version: int
    until: float
    answer: Answer


class Answers:
    """The pages asked for last."""

    def __init__(self, limit: int, max_age_s: int) -> None:
        self._limit = limit
        self._cache_control = ("cache-control", f"public, max-age={max_age_s}")
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._ready = metrics.PAGES.labels("ready")
        self._built = metrics.PAGES.labels("built")

    def make(self, body: bytes) -> Answer:
        """An answer with its headers. The etag is weak: the edge says the same in JSON."""
        etag = hashlib.blake2b(body, digest_size=8).hexdigest()
        return Answer(body, (self._cache_control, ("etag", f'W/"{etag}"')))

    def get(self, chart: Chart, request: Hashable, build: Callable[[], bytes]) -> Answer:
        """The answer to `request`: the one that is ready, or a new one if the charts have changed."""
        kept = self._kept.get(request)
        now = time.monotonic()
        if kept is not None and kept.chart is chart and kept.version == chart.version and now < kept.until:
            self._ready.inc()
            return kept.answer
        answer = self.make(build())
        self._built.inc()
        self._kept[request] = _Kept(chart, chart.version, now + _KEPT_S, answer)
        self._kept.move_to_end(request)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return answer
