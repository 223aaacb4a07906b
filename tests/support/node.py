"""Packages of npm for tests, by their lock file, with Node from PyPI: downloaded once a user."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge import npm
from local.stack.layout import cache_folder

_ATTEMPTS = 2


def node() -> npm.Node:
    """Node, the same on every machine.

    Raises:
        subprocess.SubprocessError: it can't be had.
    """
    return npm.of_wheel(cache_folder())


def packages(sources: Path) -> Path:
    """The `node_modules` of the package.json and package-lock.json in a folder.

    Raises:
        subprocess.SubprocessError: they can't be had.
    """
    lock = sources / "package-lock.json"
    folder = cache_folder() / f"{sources.name}-{npm.digest([lock])}"
    with npm.once(folder) as todo:
        if todo:
            for file in (lock, sources / "package.json"):
                shutil.copyfile(file, folder / file.name)
            _npm(["ci"], folder)
    return folder / "node_modules"


def package(name: str, version: str, day: str) -> Path:
    """The folder of one package; what it depends on is taken as it was on that day.

    Raises:
        subprocess.SubprocessError: it can't be had.
    """
    folder = cache_folder() / f"{name}-{version}"
    with npm.once(folder) as todo:
        if todo:
            _npm(["install", f"--prefix={folder}", f"--before={day}", f"{name}@{version}"], folder)
    return folder / "node_modules" / name


def _npm(words: Sequence[str], folder: Path) -> None:
    """A registry may be slow when it is first asked for something: what it has sent by then is kept."""
    found = node()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            found.run([*found.npm, *words, *npm.OPTIONS], folder)
            return
        except subprocess.SubprocessError as error:
            if attempt == _ATTEMPTS:
                raise
            print(f"attempt {attempt} of {_ATTEMPTS}: {error}", file=sys.stderr)
