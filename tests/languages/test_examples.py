"""The examples of docs/other-languages.md, generated, compiled and run as it says, against a real mesh."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from edge import tokens
from local.commands import movielens
from local.stack.layout import Stack
from tests.support import node
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "other-languages.md"
BUF = Path(sys.executable).with_name("buf")
SAID = re.search(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
async def caller(mesh_stack: Stack) -> Mapping[str, str]:
    """The environment of somebody with a token, where the film is known."""
    if movielens.omdb_answers() is None:
        pytest.skip("the film's own year and title come with OMDb's answers, which are not at hand")
    address = mesh_stack.address("envoy", "edge")
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=15) as api:

        async def known() -> bool:
            return (await api.get("/v1/movies/tt0111161")).status_code == 200

        await eventually(known, timeout=60, what="a film")
    return {
        **os.environ,
        "MARQUEE_TARGET": address,
        "MARQUEE_URL": f"http://{address}",
        "MARQUEE_TOKEN": tokens.issue(mesh_stack.home.tokens, "polyglot"),
    }


@pytest.fixture
def example(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of an example, with the contract beside it."""
    folder = tmp_path / request.param
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("gen", "out", "contract"))
    run([sys.executable, ROOT / "protos" / "workspace.py", "contract"], folder)
    yield folder
    shutil.rmtree(folder)


def run(command: list[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints; the test fails with what it says if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("example", ["typescript"], indirect=True)
def test_typescript_with_connect(example: Path, caller: Mapping[str, str]) -> None:
    program = Path(node.node().program)
    modules = node.packages(example)
    (example / "node_modules").symlink_to(modules)
    with_node = {**caller, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    run([BUF, "generate"], example, with_node)
    run(["node_modules/.bin/tsc"], example, with_node)
    assert run(["node", "out/main.js"], example, with_node) == SAID


@pytest.mark.parametrize("example", ["go"], indirect=True)
def test_go(example: Path, caller: Mapping[str, str]) -> None:
    if shutil.which("go") is None:
        pytest.skip("there is no Go here")
    run([BUF, "generate"], example)
    run(["go", "vet", "-mod=readonly", "./..."], example)
    assert run(["go", "run", "-mod=readonly", "."], example, caller) == SAID
