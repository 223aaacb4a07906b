"""Where spans go on the local stack, and what is said where they can't."""

import os
from pathlib import Path

import pytest

from local.commands import starting
from local.servers import jaeger
from local.stack.layout import Home, Stack, checkout
from local.supervision.processes import TRACES, select

CONFIG = checkout() / "k8s" / "observability" / "jaeger.yaml"


def test_jaeger_comes_only_when_it_is_asked_for() -> None:
    usual = {process.name for process in select([])}
    assert jaeger.JAEGER not in usual
    assert {process.name for process in select([TRACES])} == usual | {jaeger.JAEGER}


def test_spans_go_to_jaeger_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARQUEE_TRACE_RATIO", raising=False)
    ports = {f"jaeger/{purpose}": number for number, purpose in enumerate(jaeger.PORTS, start=7)}
    assert jaeger.senders(Stack(Home(tmp_path), {})) == {}
    stack = Stack(Home(tmp_path), ports)
    assert jaeger.senders(stack) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:7",
        "MARQUEE_TRACE_RATIO": "0.1",
    }
    given = jaeger.environment(stack, "jaeger")
    asked = CONFIG.read_text()
    for name in given:
        assert name == "GOMEMLIMIT" or f"${{env:{name}:-" in asked
    assert given["JAEGER_HOST"] == "127.0.0.1"


def failing_go(folder: Path) -> None:
    """A Go that can't build anything."""
    folder.mkdir()
    (folder / "go").write_text('#!/bin/sh\n[ "$1" = env ] && echo go1.99.0 && exit\nexit 1\n')
    (folder / "go").chmod(0o755)


def test_where_jaeger_can_not_be_built_the_rest_starts_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(jaeger.ENDPOINT, raising=False)
    monkeypatch.setenv("MARQUEE_CACHE", str(tmp_path / "cache"))
    failing_go(tmp_path / "go")
    monkeypatch.setenv("PATH", f"{tmp_path / 'go'}:{os.environ['PATH']}")
    assert starting.traces() == []
    assert "without Jaeger: it could not be built" in capsys.readouterr().err
    jaeger.program().write_text("built before")
    jaeger.program().chmod(0o755)
    assert starting.traces() == [TRACES]


def test_there_is_no_jaeger_for_spans_that_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(jaeger.ENDPOINT, "http://collector:4317")
    assert starting.traces() == []
    assert "http://collector:4317" in capsys.readouterr().err
