"""Node from PyPI, and packages of npm for tests: downloaded once a user."""

from pathlib import Path

from edge import npm
from local.stack.layout import cache_folder


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
    return npm.packages(sources, cache_folder())


def package(name: str, version: str, day: str) -> Path:
    """The folder of one package; what it depends on is taken as it was on that day.

    Raises:
        subprocess.SubprocessError: it can't be had.
    """
    folder = cache_folder() / f"{name}-{version}"
    with npm.once(folder) as todo:
        if todo:
            npm.install(
                ["install", f"--prefix={folder}", f"--before={day}", f"{name}@{version}"], folder, node()
            )
    return folder / "node_modules" / name
