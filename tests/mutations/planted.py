"""Planted changes, `planted.toml`: tried in a copy of the tree, each against the tests that must fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutations.plan import ROOT

_FILE: Final = Path(__file__).with_name("planted.toml")
_COPY: Final = ROOT / ".mutations" / "planted"
_FOLDERS: Final = (
    "rating_svc",
    "ranking_svc",
    "movie_svc",
    "mesh",
    "edge",
    "envoy",
    "local",
    "protos",
    "tests",
)
_OPTIONS: Final = ("-p", "no:cacheprovider", "--hypothesis-profile=mutations")
_TESTS_FAILED: Final = 1


@dataclass(frozen=True)
class Planted:
    """A change and the tests that must notice it."""

    name: str
    what: str
    file: str
    old: str
    """What stands in the file, once."""
    new: str
    tests: tuple[str, ...]


def planted(modules: Sequence[str]) -> list[Planted]:
    """The changes to some files; all of them if none is named."""
    found = [
        Planted(name, v["what"], v["file"], v["old"], v["new"], tuple(v["tests"]))
        for name, v in tomllib.loads(_FILE.read_text()).items()
    ]
    return [one for one in found if not modules or one.file in modules]


def passed(modules: Sequence[str]) -> list[str]:
    """Tries the changes to some files, all without names; returns those that no test noticed."""
    changes = planted(modules)
    if not changes:
        return []
    _copy()
    every = list(dict.fromkeys(test for change in changes for test in change.tests))
    # A test that fails anyway would notice everything.
    if _run(every) != 0:
        raise SystemExit(f"the tests of {_FILE.name} do not pass as the code is: see {_COPY / 'log'}")
    return [f"{change.name}: {change.what}" for change in changes if not _noticed(change)]


def changed(change: Planted, text: str) -> str:
    """A file's text with the change in it.

    Raises:
        SystemExit: the code has moved on, and the entry must follow.
    """
    if text.count(change.old) != 1:
        raise SystemExit(f"{_FILE.name}: {change.name}: `old` does not stand once in {change.file}")
    return text.replace(change.old, change.new)


def _noticed(change: Planted) -> bool:
    path = _COPY / change.file
    before = path.read_text()
    path.write_text(changed(change, before))
    try:
        code = _run(change.tests)
    finally:
        path.write_text(before)
    if code not in (0, _TESTS_FAILED):
        raise SystemExit(f"pytest ended with {code} on the planted change {change.name}")
    print(f"planted: {change.name}: {'passed' if code == 0 else 'noticed'}", flush=True)
    return code == _TESTS_FAILED


def _copy() -> None:
    shutil.rmtree(_COPY, ignore_errors=True)
    for folder in _FOLDERS:
        shutil.copytree(ROOT / folder, _COPY / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", _COPY)


def _run(tests: Sequence[str]) -> int:
    """Exit code of pytest; what the tests start is of the copy too. What they say goes to a file."""
    with (_COPY / "log").open("wb") as log:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", *_OPTIONS, *tests],
            cwd=_COPY,
            env={**os.environ, "PYTHONPATH": str(_COPY)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ).returncode
