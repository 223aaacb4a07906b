"""What calls cost."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a number of calls came to."""

    calls: int
    cpu_us: Mapping[str, float]
    """CPU time a call, by process."""
    seconds: float
    latencies_ms: Sequence[float]

    def __str__(self) -> str:
        cuts = statistics.quantiles(self.latencies_ms, n=100)
        parts = "  ".join(f"{name} {cpu:6.0f}" for name, cpu in self.cpu_us.items())
        return (
            f"CPU-µs: {parts}   {self.calls / self.seconds:6.0f}/s  "
            f"p50 {cuts[49]:6.2f} ms  p99 {cuts[98]:6.2f} ms  ({self.calls} calls)"
        )
