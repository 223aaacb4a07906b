"""The clock that processes share, and that nobody compares times by another one."""

import ast
import time
from pathlib import Path

import pytest

from mesh import clock
from mesh.services import SERVICES

ROOT = Path(__file__).parents[3]
# Who reads this machine's clock, and why that is right.
ALLOWED = {
    "mesh/clock.py": "it is what all others go by",
    "edge/tokens.py": "a token's times are by the issuer's clock, and Envoy allows for a minute",
}
WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock._Clock, "offset", None)


def test_before_the_store_was_heard_ones_own_clock_is_all_there_is() -> None:
    assert clock.now() == pytest.approx(time.time(), abs=5)


def test_afterwards_ones_own_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = time.monotonic()
    clock.learn(1_000_000.0, asked, asked)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert clock.now() == pytest.approx(1_000_000, abs=60)
    assert clock.now_us() == pytest.approx(1_000_000_000_000, abs=60_000_000)
    assert clock.utc_now().timestamp() == pytest.approx(1_000_000, abs=60)


def test_an_answer_that_took_too_long_says_nothing() -> None:
    asked = time.monotonic()
    clock.learn(1_000_000.0, asked, asked)
    clock.learn(2_000_000.0, asked, asked + 5)
    assert clock.now() == pytest.approx(1_000_000, abs=60)


def test_a_new_primarys_clock_is_taken() -> None:
    asked = time.monotonic()
    clock.learn(1_000_000.0, asked, asked)
    clock.learn(1_000_500.0, asked, asked + 0.01)
    assert clock.now() == pytest.approx(1_000_500, abs=60)


def test_nobody_else_reads_a_wall_clock() -> None:
    found = []
    for folder in ("mesh", "edge", *(service.name for service in SERVICES)):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if name in ALLOWED:
                continue
            found += [f"{name}:{line}" for line in _readings(ast.parse(path.read_text()))]
    assert not found, "mesh.clock, or the monotonic clock, or the database's now()"


def _readings(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr, node.attr) in WALL_CLOCKS
    ]
