"""The `marquee` command, as a user would type it."""

import os
import subprocess
import sys

from mesh.local.stack import Home


def marquee(home: Home, *words: str, code: int = 0, timeout_s: float = 280) -> str:
    """Runs it on that home; gives what it says, once it has ended with that exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh.local", *words],
        env={**os.environ, "MARQUEE_HOME": str(home.root)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
