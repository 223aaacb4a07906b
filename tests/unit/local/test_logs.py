"""`marquee logs` makes ECS lines readable and loses none."""

from pathlib import Path

import pytest

from local.commands import logview
from local.stack.layout import Home, StackError
from local.supervision import access_log

ECS = '{"@timestamp":"2026-11-24T04:21:09.436Z","log.level":"error","message":"it broke",'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.make()
    return home


def test_a_json_line_becomes_time_level_and_message() -> None:
    assert logview.readable(ECS + '"service":{"name":"x"}}') == "04:21:09.436 ERROR   it broke"


def test_an_error_shows_its_trace_and_what_it_was() -> None:
    error = '"error":{"type":"KeyError","message":"\'a\'","stack_trace":"  File x.py, line 1\\n"}}'
    assert logview.readable(ECS + error).splitlines()[1:] == ["  File x.py, line 1", "KeyError: 'a'"]


@pytest.mark.parametrize("line", ["LOG:  ready", "{not json", '{"a": 1}'])
def test_any_other_line_stays_as_it_is(line: str) -> None:
    assert logview.readable(line) == line


def test_several_logs_are_told_apart(home: Home) -> None:
    home.log("redis").write_text("one\ntwo\n")
    home.log("kafka").write_text("three\n")
    lines = list(logview.last(home, ["redis", "kafka"], 1, raw=False))
    assert [line.split() for line in lines] == [["redis", "two"], ["kafka", "three"]]


def test_an_unknown_log_is_refused_with_the_known_ones(home: Home) -> None:
    home.log("redis").touch()
    with pytest.raises(StackError, match="no log of 'radis': there are redis"):
        list(logview.last(home, ["radis"], 1, raw=False))


def test_following_gives_whole_lines_as_they_come(home: Home) -> None:
    path = home.log("redis")
    path.write_text("before\n")
    follower = logview.Follower(home, ["redis"], raw=True)
    assert follower.lines() == []
    with path.open("a") as file:
        file.write("first\nsec")
    assert follower.lines() == ["first"]
    with path.open("a") as file:
        file.write("ond\n")
    assert follower.lines() == ["second"]


def test_following_goes_on_when_a_log_is_begun_anew(home: Home) -> None:
    path = home.log("redis")
    path.write_text("a long line before\n")
    follower = logview.Follower(home, ["redis"], raw=True)
    path.write_text("anew\n")
    assert follower.lines() == ["anew"]


def test_a_limit_of_the_access_log_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access_log.LIMIT_VARIABLE, "64M")
    with pytest.raises(StackError, match="64M"):
        access_log.limit()
    monkeypatch.setenv(access_log.LIMIT_VARIABLE, "1000")
    assert access_log.limit() == 1000


def test_what_was_written_before_a_log_was_begun_again_is_followed_too(home: Home) -> None:
    path = home.log("access")
    path.write_text("one\n")
    follower = logview.Follower(home, ["access"], raw=True)
    with path.open("a") as file:
        file.write("two\nthree\n")
    path.replace(path.with_suffix(".log.1"))
    path.write_text("four\n")
    assert follower.lines() == ["two", "three", "four"]
    assert follower.lines() == []
