"""The scripts that make environments: which Python they take, who installs, and what they never delete."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of programs, which is put first on PATH; its `make` only says what it was told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder / "make", 'echo "make $*"')
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def python(folder: Path, version: str, name: str = "python3") -> Path:
    """A program that says it is this version, as far as the script asks."""
    folder.mkdir(exist_ok=True)
    promised = tuple(map(int, version.split("."))) >= (3, 11)
    program(folder / name, f"echo {version}" if promised else "exit 0")
    return folder / name


def oldest(*folders: Path) -> str:
    path = ":".join(map(str, folders))
    # Last what bash itself needs, without any Python.
    tools = folders[0].parent / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "head", "sort", "sh"):
        (tools / name).symlink_to(
            next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists())
        )
    environment = {"PATH": f"{path}:{tools}"}
    done = subprocess.run(
        [tools / "bash", SCRIPTS / "oldest_python.sh"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_later_older_python_checks_too(folder: Path, tmp_path: Path) -> None:
    python(folder, "3.11.7")
    own = python(tmp_path / "debian", "3.11.2", "python3.11")
    assert f"make PYTHON={own} MARQUEE_VENV=.venv-oldest lint test-unit" in oldest(folder, own.parent)


def test_what_the_readme_does_not_promise_is_passed_over(folder: Path, tmp_path: Path) -> None:
    python(folder, "3.13.5")
    python(folder, "3.10.9", "python3.11")
    own = python(tmp_path / "debian", "3.11.10")
    assert f"PYTHON={own} " in oldest(folder, own.parent)


def test_the_first_python_is_not_checked_twice(folder: Path, tmp_path: Path) -> None:
    python(folder, "3.11.2")
    newer = python(tmp_path / "newer", "3.13.5")
    said = oldest(folder, newer.parent)
    assert "3.11.2" in said
    assert "make" not in said


def test_an_environment_never_replaces_somebodys_folder(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    done = subprocess.run(
        [SCRIPTS / "bootstrap.sh"],
        env={**os.environ, "MARQUEE_VENV": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"MARQUEE_VENV={tmp_path} holds something else" in done.stderr
    assert (tmp_path / "letter").read_text() == "dear"


@pytest.mark.parametrize(("uv_ends_with", "pip_installs_all"), [(0, False), (2, True)])
def test_uv_installs_the_lock_and_pip_does_where_uv_can_not(
    tmp_path: Path, uv_ends_with: int, pip_installs_all: bool
) -> None:
    said = tmp_path / "said"
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "python", f'echo python "$@" >>{said}')
    program(tmp_path / "bin" / "uv", f'echo uv "$@" >>{said}; exit {uv_ends_with}')
    subprocess.run(
        [SCRIPTS / "bootstrap.sh"], env={**os.environ, "MARQUEE_VENV": str(tmp_path)}, check=True, timeout=60
    )
    lines = said.read_text().splitlines()
    whole_lock = "--require-hashes -r requirements.lock"
    assert any(line.startswith("uv pip install") and line.endswith(whole_lock) for line in lines)
    by_pip = [line for line in lines if line.startswith("python -m pip") and line.endswith(whole_lock)]
    assert bool(by_pip) is pip_installs_all
