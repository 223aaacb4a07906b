"""Prometheus' own tool, which checks rules and what processes export."""

import functools
import subprocess
from pathlib import Path

import pytest

from local.stack.layout import checkout


@functools.cache
def programs() -> Path | None:
    """The folder of Prometheus' programs; None where they can't be had."""
    found = subprocess.run([checkout() / "scripts" / "prometheus.sh"], capture_output=True, text=True)
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def promtool(*words: str, given: str = "") -> None:
    """Runs it; what it finds wrong fails the test. Skips where Debian's package can't be had."""
    folder = programs()
    if folder is None:
        pytest.skip("there is no promtool, and Debian's package prometheus can't be had")
    done = subprocess.run([folder / "promtool", *words], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
