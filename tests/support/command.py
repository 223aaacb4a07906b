"""The `marquee` command, as a user would type it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from local.stack.layout import Home

_PATIENCE_S = 280


def run(
    home: Home,
    *words: str,
    environment: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    patience_s: float = _PATIENCE_S,
) -> subprocess.CompletedProcess[str]:
    """Runs it on that home, by way of the program `before` it; returns how it ended and what it said."""
    usual = {"MARQUEE_HOME": str(home.root), "MARQUEE_EDGE_PORT": "0", "COLUMNS": "200"}
    return subprocess.run(
        [*before, sys.executable, "-m", "local", *words],
        env={**os.environ, **usual, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )


def marquee(home: Home, *words: str, code: int = 0) -> str:
    """Runs it on that home; returns what it says, or else what is wrong. It must end with that exit code."""
    done = run(home, *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout or done.stderr
