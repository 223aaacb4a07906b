"""The demo hands files to movie_svc's own commands, wherever those run."""

import sys
from pathlib import Path

import pytest

from local.commands import demo, movies
from local.stack.layout import Home, Stack


def test_files_go_to_the_options_that_take_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    monkeypatch.setattr(movies, "command", lambda *arguments: [*told, *arguments])
    monkeypatch.setattr(movies, "environment", lambda stack: {})
    stack = Stack(Home(tmp_path), {})
    tables = {"--movies": Path("movies.csv"), "--links": Path("links.csv")}
    done = demo._movie_svc_here(stack, "import-catalogue", tables)
    assert done.stdout.strip() == "['import-catalogue', '--movies=movies.csv', '--links=links.csv']"
    done = demo._movie_svc_here(stack, "import", {"": Path("answers.jsonl")})
    assert done.stdout.strip() == "['import', 'answers.jsonl']"


def test_an_edge_elsewhere_is_called_where_it_is(tmp_path: Path) -> None:
    stack = Stack(Home(tmp_path), {"envoy/edge": 30080, "redis/redis": 6379}, hosts={"envoy": "10.0.0.2"})
    assert stack.edge_url == "http://10.0.0.2:30080"
    assert stack.address("redis", "redis") == "127.0.0.1:6379"
