"""Progressive delivery: a new release gets more and more calls as long as it does as well as the stable one.

A step lasts until the release has baked long enough and has been seen often enough; it ends at once when the
release is worse. Worse is judged by a test, not by a bare rate: three calls that fail of three are enough,
one of ten is not.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from edge.statistics import Sample
from edge.trials import Audience, Canary
from mesh.config import setting

Phase = Literal["baking", "promoted", "rolled back"]

# How unlikely it must be that a release is as good as it may be and yet is seen like this.
_DOUBT: Final = 1e-4


@dataclass(frozen=True)
class DeliveryConfig:
    """How fast a new release is delivered, and what it is forgiven."""

    steps: str = setting(
        "MARQUEE_CANARY_STEPS", "1,5,25,50,100", "the steps of a delivery, in percent of calls"
    )
    bake_s: float = setting(
        "MARQUEE_CANARY_BAKE_S", 300.0, "how long each step lasts at least, in seconds", low=0.1
    )
    min_calls: int = setting(
        "MARQUEE_CANARY_MIN_CALLS", 200, "how many calls a step must have seen before the next", low=1
    )
    error_margin: float = setting(
        "MARQUEE_CANARY_ERROR_MARGIN",
        0.01,
        "by how much its share of failed calls may be above the stable release's",
        low=0.0001,
        high=1,
    )
    slow_factor: float = setting(
        "MARQUEE_CANARY_SLOW_FACTOR",
        2.0,
        "slow is a call that takes so many times as long as 95 of 100 calls of the stable release",
        low=1,
    )
    slow_floor_ms: float = setting(
        "MARQUEE_CANARY_SLOW_FLOOR_MS", 50.0, "but no call that takes less is slow, in milliseconds", low=0
    )
    slow_margin: float = setting(
        "MARQUEE_CANARY_SLOW_MARGIN",
        0.05,
        "by how much its share of slow calls may be above the stable release's",
        low=0.0001,
        high=1,
    )

    @property
    def percents(self) -> tuple[float, ...]:
        """The steps.

        Raises:
            ValueError: they don't grow to 100.
        """
        found = tuple(float(each) for each in self.steps.split(","))
        if list(found) != sorted(set(found)) or found[0] <= 0 or found[-1] != 100:
            raise ValueError(f"MARQUEE_CANARY_STEPS can't be {self.steps!r}: steps grow, and the last is 100")
        return found


@dataclass(frozen=True)
class Seen:
    """What was seen of both releases since a step began."""

    canary: Sample
    stable: Sample


def fault(seen: Seen, config: DeliveryConfig) -> str:
    """What is wrong with the new release, as a sentence; empty if nothing is that sure."""
    new, old = seen.canary, seen.stable
    if not new.healthy:
        return "it has no healthy instance"
    accepted = (old.faults / old.calls if old.calls else 0.0) + config.error_margin
    if unlikely(new.faults, new.calls, accepted):
        return f"{new.faults} of {new.calls} calls failed; of the stable release {old.faults} of {old.calls}"
    if old.timed >= config.min_calls / 4:
        bound = max(config.slow_floor_ms, config.slow_factor * old.quantile_ms(0.95))
        slow, usual = new.slower_than(bound), old.slower_than(bound)
        if unlikely(slow, new.timed, usual / old.timed + config.slow_margin):
            return (
                f"{slow} of {new.timed} calls took more than {bound:g} ms; "
                f"of the stable release {usual} of {old.timed}"
            )
    return ""


def unlikely(count: int, of: int, share: float) -> bool:
    """Whether `count` or more of `of` is hard to believe where `share` is to be expected."""
    if share >= 1 or count <= of * share:
        return False
    term = math.exp(
        math.lgamma(of + 1)
        - math.lgamma(count + 1)
        - math.lgamma(of - count + 1)
        + count * math.log(share)
        + (of - count) * math.log1p(-share)
    )
    total = 0.0
    for each in range(count, of + 1):
        total += term
        if total >= _DOUBT or term < total * 1e-9:
            break
        term *= (of - each) / (each + 1) * share / (1 - share)
    return total < _DOUBT


class Delivery:
    """One new release on its way; kept from step to step, judged at every look."""

    def __init__(self, config: DeliveryConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._began = 0.0
        self._start: Seen | None = None

    def look(self, canary: Canary, now: Seen) -> Canary:
        """The release as it should be routed after what has been seen; the same object if nothing changes."""
        phase = canary.delivery.get("phase")
        if phase in ("promoted", "rolled back"):
            return canary
        if phase is None:
            # Before it is there at all, there is nothing to deliver.
            return self._step(canary, 0, now) if now.canary.healthy else canary
        since = None if self._start is None else _since(now, self._start)
        if since is None:
            # This process or Envoy has just started: the step begins again.
            self._begin(now)
            return canary
        if wrong := fault(since, self._config):
            return replace(
                canary,
                audience=Audience(0.0),
                delivery=_record("rolled back", 0, f"at {canary.audience.percent:g} %: {wrong}"),
            )
        baked = self._clock() - self._began >= self._config.bake_s
        # Envoy tells times somewhat later than it counts calls.
        if not baked or min(since.canary.calls, since.canary.timed) < self._config.min_calls:
            return canary
        if canary.audience.percent >= 100:
            reason = f"it did as well as the stable release in {since.canary.calls} calls"
            return replace(canary, delivery=_record("promoted", canary.delivery["step"], reason))
        return self._step(canary, int(canary.delivery["step"]) + 1, now)

    def _step(self, canary: Canary, number: int, now: Seen) -> Canary:
        self._begin(now)
        percent = self._config.percents[number]
        return replace(canary, audience=Audience(percent), delivery=_record("baking", number, ""))

    def _begin(self, now: Seen) -> None:
        self._began, self._start = self._clock(), now


def _since(now: Seen, start: Seen) -> Seen | None:
    canary, stable = now.canary.since(start.canary), now.stable.since(start.stable)
    return None if canary is None or stable is None else Seen(canary, stable)


def _record(phase: Phase, step: int, reason: str) -> Mapping[str, object]:
    return {"phase": phase, "step": step, "reason": reason}
