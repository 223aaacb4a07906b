"""The edge's cache, a filter in C for Envoy (envoy/cache): `python -m edge.cache_module` compiles it.

With `cc`, or with the C compiler that MARQUEE_CC names (several words are allowed: `zig cc`).
"""

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge import template

SOURCES: Final = template.FOLDER / "cache"
_FLAGS: Final = (
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-pthread",
    "-Wall",
    "-Wextra",
)


def library() -> Path:
    """The compiled filter.

    Raises:
        FileNotFoundError: it was never compiled from these sources.
    """
    path = _library()
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make install`, or `python -m edge.cache_module`")
    return path


def build(compiler: Sequence[str], *flags: str, out: Path | None = None) -> Path:
    """Compiles the filter into `out`, or to where `library` finds it.

    Raises:
        FileNotFoundError: there is no such compiler.
        subprocess.CalledProcessError: it failed.
    """
    path = out or _library()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run([*compiler, *_FLAGS, *flags, "-o", str(partial), *sources], check=True)
    partial.replace(path)
    return path


def _library() -> Path:
    """Of these sources: a checkout of another release compiles its own."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir())))
    return Path(sys.prefix) / "lib" / "marquee" / f"edge-cache-{digest.hexdigest()[:16]}.so"


if __name__ == "__main__":
    if not _library().exists():
        build(shlex.split(os.environ.get("MARQUEE_CC", "cc")))
