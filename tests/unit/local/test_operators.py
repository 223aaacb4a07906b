"""What operators do by the command is noted, levels are changed by it, and a call is found in all logs."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from local.cli import app
from local.commands import audit, levels, tracelog
from local.stack.layout import Home, StackError

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


def test_every_command_is_known_to_change_something_or_only_to_look() -> None:
    command: Any = get_command(app)
    assert command.commands.keys() == audit._CHANGING.keys() | audit.LOOKING


@pytest.mark.parametrize(
    ("words", "noted"),
    [
        (["verify", "--repair"], True),
        (["verify"], False),
        (["dlq", "redrive", "7"], True),
        (["dlq", "list"], False),
        (["canary", "set", "movie_svc", "20"], True),
        (["restart", "--help"], False),
        (["dlq", "discard", "0:7"], True),
        (["drill", "redis-lost"], True),
        (["drill", "--mend"], True),
        (["drill"], False),
        (["logs", "restart"], False),
        ([], False),
    ],
)
def test_what_changes_something_is_noted(words: list[str], noted: bool) -> None:
    assert audit.changes(words) is noted


def test_a_note_says_who_did_what_and_how_it_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_HOME", str(home.root))
    monkeypatch.setenv("SUDO_USER", "olga")
    with audit.noted(["restart", "movie_svc"]):
        pass
    with pytest.raises(StackError), audit.noted(["down"]):
        raise StackError("no")
    with pytest.raises(SystemExit), audit.noted(["verify", "--repair"]):
        raise SystemExit(1)
    lines = [json.loads(line) for line in home.log(audit.LOG).read_text().splitlines()]
    assert [(line["event"]["action"], line["event"]["outcome"]) for line in lines] == [
        ("restart", "success"),
        ("down", "failure"),
        ("verify", "failure"),
    ]
    assert lines[0]["user"]["name"] == "olga"
    assert lines[0]["process"]["args"] == ["restart", "movie_svc"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--env", "OMDB_API_KEY=hunter2", "--env", "A=b=hunter2"], ["--env", "OMDB_API_KEY", "--env", "A"]),
        (["--env=OMDB_API_KEY=hunter2"], ["--env=OMDB_API_KEY"]),
        (["--env", "hunter2"], ["--env", "…"]),
        (["--env=hunter2"], ["--env=…"]),
    ],
)
def test_no_value_of_a_variable_is_noted(
    home: Home, monkeypatch: pytest.MonkeyPatch, given: list[str], kept: list[str]
) -> None:
    monkeypatch.setenv("MARQUEE_HOME", str(home.root))
    with audit.noted(["canary", "start", "movie_svc", *given, "--code", "next"]):
        pass
    written = home.log(audit.LOG).read_text()
    assert "hunter2" not in written
    noted = json.loads(written)
    assert noted["process"]["args"] == ["canary", "start", "movie_svc", *kept, "--code", "next"]


def test_nothing_is_noted_where_there_is_no_stack(tmp_path: Path) -> None:
    audit.note(Home(tmp_path / "none"), ["down"], "success")
    assert not (tmp_path / "none").exists()


def test_levels_are_set_changed_and_forgotten(home: Home) -> None:
    assert (
        levels.change(home, "rating_svc-worker", "mesh.kafka", "debug")
        == "rating_svc-worker:mesh.kafka=debug"
    )
    assert "*=warning" in levels.change(home, "*", "", "warning")
    assert levels.change(home, "rating_svc-worker", "mesh.kafka", "") == "*=warning"
    assert levels.change(home, "*", "", "") == "all processes write as they were started"
    for process, level in (("nobody", "info"), ("*", "loud")):
        with pytest.raises(StackError, match="there are"):
            levels.change(home, process, "", level)


def line(time: str, service: str, message: str, trace: str = TRACE, request: str = "r-12345678") -> str:
    return json.dumps(
        {
            "@timestamp": time,
            "log.level": "info",
            "message": message,
            "service": {"name": service},
            "trace": {"id": trace},
            "http": {"request": {"id": request}},
        }
    )


def test_a_call_is_found_in_all_logs_in_the_order_of_time(home: Home) -> None:
    home.log("movie_svc").write_text(line("2026-01-31T10:00:00.300Z", "movie_svc", "third") + "\n")
    home.log("access").write_text(
        line("2026-01-31T10:00:00.400Z", "edge", "fourth")
        + "\n"
        + line("2026-01-31T10:00:00.500Z", "edge", "another call's", trace="f" * 32, request="s-12345678")
        + "\n"
        + line("2026-01-31T10:00:00.600Z", "edge", f"of another call, about {TRACE}", trace="", request="")
        + "\n"
        + f'{{"trace":{{"id":"{TRACE}"'
    )
    older = home.log("access").with_suffix(".log.1")
    older.write_text(line("2026-01-31T10:00:00.100Z", "edge", "first") + "\n")
    home.log("postgres").write_text(f"plain text with {TRACE}\n")
    home.log("rating_svc").write_text(line("2026-01-31T10:00:00.200Z", "rating_svc", "second") + "\n")
    for identity in (TRACE, "r-12345678"):
        found = tracelog.find(home, identity)
        assert [str(each).split(": ")[-1].split()[-1] for each in found] == [
            "first",
            "second",
            "third",
            "fourth",
        ]
        assert [each.service for each in found] == ["edge", "rating_svc", "movie_svc", "edge"]
    with pytest.raises(StackError):
        tracelog.find(home, "short")
