"""What is mutated and by which tests it is judged: `plan.toml`."""

import fnmatch
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FILE: Final = Path(__file__).with_name("plan.toml")


@dataclass(frozen=True)
class Group:
    """Modules and tests that one run of mutmut brings together."""

    name: str
    modules: tuple[str, ...]
    """Paths of files below the root of the repository, sorted."""
    tests: tuple[str, ...]
    """The same of test files."""
    allowance_s: float
    """What a test process may take beyond its tests' own time, for starting real parts."""
    by_default: bool
    """Whether it runs when nobody named a module."""
    folder: str
    """Where its verdicts are kept: a folder for each choice of modules, as mutmut keeps those of one."""

    def only(self, named: Sequence[str]) -> "Group":
        """The same group cut down to some modules."""
        modules = tuple(module for module in self.modules if module in named)
        return replace(self, modules=modules, folder=f"{self.name}-{zlib.crc32(repr(modules).encode()):08x}")


def groups() -> list[Group]:
    """All groups of the plan; a pattern that matches no file is an error."""
    return [_group(name, values) for name, values in tomllib.loads(_FILE.read_text()).items()]


def chosen(named: Sequence[str]) -> list[Group]:
    """The groups that judge the named modules, cut down to those; all default groups if none is named."""
    every = groups()
    unknown = set(named) - {module for group in every for module in group.modules}
    if unknown:
        raise SystemExit(f"no group of {_FILE.name} has {', '.join(sorted(unknown))}")
    if not named:
        return [group for group in every if group.by_default]
    return [group.only(named) for group in every if set(group.modules) & set(named)]


def _group(name: str, values: dict[str, list[str]]) -> Group:
    without = values.get("without", [])
    modules = [
        path
        for path in _files(values["modules"])
        if not any(fnmatch.fnmatch(path, pattern) for pattern in without)
    ]
    return Group(
        name,
        tuple(modules),
        tuple(_files(values["tests"])),
        float(values.get("allowance_s", 4)),  # type: ignore[arg-type]
        bool(values.get("by_default", True)),
        folder=name,
    )


def _files(patterns: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        if not matches:
            raise SystemExit(f"{_FILE.name}: no file matches {pattern}")
        found |= matches
    return sorted(found)
