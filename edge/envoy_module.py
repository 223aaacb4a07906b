"""The edge's own filters in C, a module for Envoy (envoy/module): `python -m edge.envoy_module` compiles it.

With `cc`, or with the C compiler that MARQUEE_CC names (several words are allowed: `zig cc`).
"""

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge import template

FILE: Final = "module.so"
"""The module, among the files that Envoy reads."""

SOURCES: Final = template.FOLDER / "module"
_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3"
_STRING: Final = "type.googleapis.com/google.protobuf.StringValue"
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
    """The compiled module.

    Raises:
        FileNotFoundError: it was never compiled from these sources.
    """
    path = _library()
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make install`, or `python -m edge.envoy_module`")
    return path


def for_route(folder: Path, filter_name: str, configuration: str) -> dict[str, Any]:
    """What a route's `typed_per_filter_config` says to one of the module's filters, which it switches on."""
    return {
        "@type": f"{_TYPE}.DynamicModuleFilterPerRoute",
        "dynamic_module_config": _module(folder),
        "per_route_config_name": filter_name,
        "filter_config": {"@type": _STRING, "value": configuration},
    }


def filter_of(folder: Path, name: str, configuration: str) -> dict[str, Any]:
    """One of the module's filters, for Envoy's chain; `folder` is where Envoy finds the module.

    Its texts are read by `config_new` in the filter's source, which see.
    """
    return {
        "@type": f"{_TYPE}.DynamicModuleFilter",
        "dynamic_module_config": _module(folder),
        "filter_name": name,
        "filter_config": {"@type": _STRING, "value": configuration},
    }


def _module(folder: Path) -> dict[str, Any]:
    return {"module": {"local": {"filename": str(folder / FILE)}}, "do_not_close": True}


def build(compiler: Sequence[str], *flags: str, out: Path | None = None) -> Path:
    """Compiles the module into `out`, or to where `library` finds it.

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
    return Path(sys.prefix) / "lib" / "marquee" / f"edge-module-{digest.hexdigest()[:16]}.so"


if __name__ == "__main__":
    if not _library().exists():
        build(shlex.split(os.environ.get("MARQUEE_CC", "cc")))
