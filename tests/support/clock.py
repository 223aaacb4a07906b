"""A clock that stands still until a test moves it on, and processes whose clock is wrong."""

from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def skewed(seconds: float) -> dict[str, str]:
    """The environment of a process whose wall clock is ahead by so many seconds."""
    return {
        "PYTHONPATH": str(Path(__file__).parent / "skewed"),
        "MARQUEE_TEST_SKEW_S": str(seconds),
    }
