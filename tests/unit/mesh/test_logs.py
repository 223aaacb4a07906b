"""Logs of a process: their fields, their levels while it runs, and which are suppressed."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from opentelemetry.trace.status import StatusCode

from mesh import identity, logs
from mesh.log_levels import Watcher, chosen, parse
from mesh.log_repeats import MOST, WITHIN_S, Repeats
from mesh.span_log import SpanLog


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_the_names_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    logs.init("rating_svc-worker", logs.LogConfig())
    logging.getLogger("somewhere").warning("%d are away", 3)
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "3 are away"
    assert line["log.level"] == "warning"
    assert line["service"]["name"] == "rating_svc-worker"
    assert line["@timestamp"].endswith("Z")


def test_levels_are_as_the_file_says_and_as_before_without_it(tmp_path: Path) -> None:
    file = tmp_path / "levels"
    root, part = logging.getLogger(), logging.getLogger("mesh.kafka")
    watcher = Watcher("rating_svc", file, "info")
    watcher.look()
    file.write_text("*=warning\nrating_svc=debug\nrating_svc:mesh.kafka=error\nmovie_svc=error\n")
    watcher.look()
    assert (root.level, part.level) == (logging.DEBUG, logging.ERROR)
    file.unlink()
    watcher.look()
    assert (root.level, part.level) == (logging.INFO, logging.NOTSET)


def test_lines_that_say_no_level_are_named_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "levels"
    file.write_text("rating_svc = debug  # for now\n=info\nmovie_svc=loud\n\n")
    levels, wrong = parse(file.read_text())
    assert chosen(levels, "rating_svc") == {"": "debug"}
    assert wrong == ["=info", "movie_svc=loud"]
    Watcher("rating_svc", file, "info").look()
    assert "movie_svc=loud" in caplog.text


def test_what_is_written_again_and_again_is_kept_back_and_counted() -> None:
    now = 0.0
    repeats = Repeats(frozenset({identity.AUDIT}), lambda: now)

    def record(line: int = 1, level: int = logging.WARNING, name: str = "a") -> logging.LogRecord:
        return logging.LogRecord(name, level, "store.py", line, "%s is away", ("redis",), None)

    assert [repeats.filter(record()) for _ in range(MOST + 3)] == [True] * MOST + [False] * 3
    assert repeats.filter(record(line=2)), "of another place"
    assert all(repeats.filter(record(level=logging.DEBUG)) for _ in range(MOST + 1))
    assert all(repeats.filter(record(name=identity.AUDIT)) for _ in range(MOST + 1))
    now = WITHIN_S
    late = record()
    assert repeats.filter(late)
    assert late.getMessage() == "redis is away (3 lines like this one were kept back)"
    later = record()
    assert repeats.filter(later)
    assert later.getMessage() == "redis is away"


def test_what_operators_did_is_written_at_any_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.init("ranking_svc", logs.LogConfig(level="error"))
    logging.getLogger(identity.AUDIT).info("done")
    assert "done" in capsys.readouterr().err


def test_a_traced_call_has_a_line_with_its_own_ids(capsys: pytest.CaptureFixture[str]) -> None:
    logs.init("rating_svc", logs.LogConfig())
    provider = TracerProvider()
    provider.add_span_processor(SpanLog())
    tracer = provider.get_tracer("test")
    served = tracer.start_span("marquee.ratings.v1.RatingService/RateMovie", kind=SpanKind.SERVER)
    asked = tracer.start_span("SELECT", kind=SpanKind.CLIENT)
    asked.end()
    served.set_status(StatusCode.ERROR)
    served.end()
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    context = served.get_span_context()
    assert line["trace"]["id"] == format_trace_id(context.trace_id)
    assert line["span"]["id"] == format_span_id(context.span_id)
    assert line["event"]["outcome"] == "failure"
    assert line["event"]["duration"] > 0
    assert line["message"].startswith("marquee.ratings.v1.RatingService/RateMovie")
