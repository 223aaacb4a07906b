"""The page's server: what it asks the index of logs, and what it says where there is nothing to ask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from edge import npm
from local.dash import bundle
from local.dash.app import Page, Settings
from local.dash.logs import line, query

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_question_is_made_of_what_was_asked_alone() -> None:
    asked = {
        "trace": TRACE.upper(),
        "service": "edge",
        "level": "warning",
        "words": "gone",
        "since": "15m",
    }
    trace, service, level, words, since = query(asked)["query"]["bool"]["filter"]
    assert trace == {"term": {"trace.id": TRACE}}
    assert service == {"term": {"service.name": "edge"}}
    assert level == {"terms": {"log.level": ["warning", "error", "critical"]}}
    assert {"match": {"message": {"query": "gone", "operator": "and"}}} in words["bool"]["should"]
    assert since == {"range": {"@timestamp": {"gte": "now-15m"}}}
    assert query({"other": "field"})["query"] == {"bool": {"filter": []}}


@pytest.mark.parametrize("asked", [{"trace": "7"}, {"level": "loud"}, {"since": "1y || now"}])
def test_what_can_not_be_asked_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=" "):
        query(asked)


def test_a_line_has_its_fields_by_their_full_names_however_they_were_nested() -> None:
    shown = line({"@timestamp": "t", "log.level": "info", "service": {"name": "edge"}, "trace": {"id": None}})
    assert (shown["level"], shown["service"], shown["trace"], shown["message"]) == ("info", "edge", "", "")
    assert shown["fields"] == {"@timestamp": "t", "log.level": "info", "service.name": "edge"}


def settings(tmp_path: Path, index: str = "", jaeger: str = "") -> Settings:
    return Settings(
        bundle=tmp_path / "bundle",
        dashboards=tmp_path,
        pages=(("overview", "Overview"),),
        prometheus="http://127.0.0.1:9",
        index=index,
        jaeger=jaeger,
        alertmanager="http://127.0.0.1:9",
        runbooks=tmp_path,
        scrape_interval="5s",
    )


async def test_without_its_parts_the_page_says_which_are_missing(tmp_path: Path) -> None:
    page = Page(settings(tmp_path))
    async with TestClient(TestServer(page.app())) as client:
        answer = await client.get("/dash/overview")
        assert (answer.status, "marquee logs dash" in await answer.text()) == (503, True)
        answer = await client.get("/dash/prometheus/api/v1/query?query=up")
        assert (answer.status, "marquee status" in await answer.text()) == (502, True)
        answer = await client.get("/dash/logs.json")
        assert (answer.status, "marquee logs" in await answer.text()) == (503, True)
        answer = await client.get("/dash/traces.json")
        assert (answer.status, "marquee up --observability" in await answer.text()) == (503, True)
        offered = await (await client.get("/dash/pages.json")).json()
        assert [each["name"] for each in offered["pages"]] == ["overview", "alerts"]
        answer = await client.get("/dash/alerts.json")
        assert (answer.status, "Alertmanager does not answer" in await answer.text()) == (503, True)


def told(name: str, severity: str, since: int, state: str = "active") -> dict[str, Any]:
    """An alert, as Alertmanager tells of it."""
    return {
        "labels": {"alertname": name, "severity": severity, "follows": "kafka", "job": "edge"},
        "annotations": {"summary": f"{name} fires"},
        "startsAt": f"2026-11-26T20:00:{since:02}Z",
        "status": {"state": state},
    }


async def test_what_wakes_somebody_comes_first_and_what_is_silent_last(tmp_path: Path) -> None:
    async def alerts(_request: web.Request) -> web.Response:
        found = [
            told("Silent", "page", 9, "suppressed"),
            told("Ticket", "ticket", 8),
            told("Older", "page", 1),
            told("Newer", "page", 2),
            told("Watchdog", "none", 3),
            told("../Secret", "ticket", 4),
        ]
        return web.json_response(found)

    (tmp_path / "Newer.md").write_text("# Newer\n\nEnd it.")
    (tmp_path.parent / "Secret.md").write_text("secret")
    manager = web.Application()
    manager.router.add_get("/api/v2/alerts", alerts)
    async with TestServer(manager) as server:
        asked = replace(settings(tmp_path), alertmanager=str(server.make_url("")).rstrip("/"))
        async with TestClient(TestServer(Page(asked).app())) as client:
            rows = (await (await client.get("/dash/alerts.json")).json())["alerts"]
    assert [row["name"] for row in rows] == ["Newer", "Older", "Ticket", "../Secret", "Silent"]
    assert [row["silent"] for row in rows] == [False] * 4 + [True]
    assert [row["runbook"] for row in rows] == ["# Newer\n\nEnd it.", "", "", "", ""]
    assert rows[0]["labels"] == {"job": "edge"}


async def test_what_is_no_question_is_handed_on_to_nobody(tmp_path: Path) -> None:
    page = Page(settings(tmp_path, "http://127.0.0.1:9/logs", "http://127.0.0.1:9"))
    async with TestClient(TestServer(page.app())) as client:
        for path in ("admin/tsdb/snapshot", "write", "targets", "..%2f..%2f-%2fquit"):
            answer = await client.post(f"/dash/prometheus/api/v1/{path}")
            assert answer.status in (403, 404, 405), path
        assert (await client.get("/dash/logs.json?level=loud")).status == 400
        assert (await client.get("/dash/logs.json")).status == 503
        assert (await client.get("/dash/traces.json?since=forever")).status == 400
        assert (await client.get("/dash/traces.json?least=long")).status == 400
        assert (await client.get("/dash/traces/..%2fservices.json")).status == 400
        answer = await client.get(f"/dash/traces/{TRACE}.json")
        assert (answer.status, "marquee status" in await answer.text()) == (503, True)
        assert (await client.get("/dash/pages.json", headers={"Host": "evil.example"})).status == 403
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.get("/dash/pages.json", headers=foreign)).status == 403
        offered = await (await client.get("/dash/pages.json")).json()
        assert [each["name"] for each in offered["pages"]] == ["overview", "alerts", "traces", "logs"]


def test_the_bundle_is_made_again_when_its_sources_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle.folder()
    copy = tmp_path / "page"
    for path in npm.sources(bundle._PAGE):
        target = copy / path.relative_to(bundle._PAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    monkeypatch.setattr(bundle, "_PAGE", copy)
    assert bundle.folder() == before
    (copy / "src" / "main.jsx").write_text("// another page")
    assert bundle.folder() != before


def test_the_lock_of_the_pages_packages_names_no_place_that_they_come_from() -> None:
    text = (bundle._PAGE / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert '"integrity": "sha512-' in text
