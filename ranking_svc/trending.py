"""Heat: recent votes, each fading by half with every half-life.

heat(now) = Σ 2^-((now - tᵢ)/H). The time of asking is the same for all movies,
so the order is that of Σ 2^(tᵢ/H), which time does not change. Its base-2
logarithm is what is stored and sorted by: an old row stays right untouched, and
numbers stay small. This is forward decay (Cormode, Shkapenyuk, Srivastava, Xu:
"Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE 2009)
in the logarithmic form of https://julesjacobs.com/2015/05/06/exponentially-decaying-likes.html.

A vote that is deleted takes off what a vote of that moment weighs, and never
more than there is: rating and deleting over and over adds no heat.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

DAY_S: Final = 86_400.0
HALF_LIVES_S: Final = (1 * DAY_S, 7 * DAY_S, 30 * DAY_S)

COLD: Final = -math.inf

# A movie that is less hot than one vote of ten half-lives ago is not trending.
LEAST_HEAT: Final = 2.0**-10

# 2^-1000 is the smallest ratio that is distinguished from nothing; the same in the SQL functions.
_LEAST: Final = -1000.0


def log_heat(times: Iterable[float], half_life_s: float) -> float:
    """log2 Σ 2^(t/H) of votes at `times` (seconds since the epoch); COLD for none."""
    exponents = [time / half_life_s for time in times]
    if len(exponents) < 2:
        return exponents[0] if exponents else COLD
    top = max(exponents)
    return top + math.log2(math.fsum(math.exp2(max(x - top, _LEAST)) for x in exponents))


def log_heat_of(heat: float, half_life_s: float, now: float) -> float:
    """The log heat that comes to `heat` at `now`, in seconds since the epoch; heat above zero."""
    return math.log2(heat) + now / half_life_s


def heat(log_heat: float, half_life_s: float, now: float) -> float:
    """How many votes of this very moment it comes to; `now` in seconds since the epoch."""
    exponent = log_heat - now / half_life_s
    return math.exp2(exponent) if exponent > _LEAST else 0.0


def log_heats(times: Sequence[float]) -> list[float]:
    """The log heat of `times` in each window."""
    return [log_heat(times, half_life) for half_life in HALF_LIVES_S]
