"""Who reaches a store or a service does so as the product does, tests too: by its own connecting functions.

A client of another kind may be answered in another form: Redis' answers depend on the protocol.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.services import SERVICES

ROOT = Path(__file__).parents[2]
FOLDERS = ("local", "mesh", "edge", "scripts", "tests", *(service.name for service in SERVICES))
# The one place where each is made. asyncpg's single connections look into tables, and reach no part.
MAKERS = {
    "redis.asyncio.Redis": "mesh/redisdb.py",
    "redis.asyncio.Redis.from_url": "mesh/redisdb.py",
    "redis.asyncio.from_url": "mesh/redisdb.py",
    "redis.Redis": "mesh/redisdb.py",
    "redis.Redis.from_url": "mesh/redisdb.py",
    "redis.from_url": "mesh/redisdb.py",
    "asyncpg.create_pool": "mesh/postgres.py",
}


def _calls(path: Path) -> Iterator[tuple[str, int]]:
    """The calls in a file by their full names, and their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield f"{names.get(first, first)}{dot}{rest}", node.lineno


def _others(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)}:{line} makes its own client by {name}: use {MAKERS[name]}"
        for part in FOLDERS
        for path in sorted((folder / part).rglob("*.py"))
        for name, line in _calls(path)
        if name in MAKERS and str(path.relative_to(folder)) != MAKERS[name]
    ]


def test_clients_of_stores_are_made_in_one_place() -> None:
    assert _others(ROOT) == []


@pytest.mark.parametrize(
    "code",
    [
        "import redis.asyncio as redis\nredis.Redis.from_url('x')",
        "from redis.asyncio import Redis\nRedis(port=1)",
        "import redis\nredis.Redis()",
        "import asyncpg\nasyncpg.create_pool()",
    ],
)
def test_another_client_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(code)
    assert len(_others(tmp_path)) == 1
