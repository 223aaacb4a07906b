"""The dashboards in a real browser: all is drawn, nothing can be edited; traces lead to logs, and back.

MARQUEE_SCREENSHOTS names a folder to keep pictures in.
"""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge import tokens
from k8s.dashboards.files import DASHBOARDS
from k8s.dashboards.model import Dashboard
from local.dash import bundle
from local.servers import dash_server, jaeger
from local.stack.layout import Home, Stack
from mesh.services import SERVICES
from tests.support import stacks
from tests.support.page.looking import Tab, tab
from tests.support.parts import hung, pid_of
from tests.support.promtool import programs

_PATIENCE_MS = 120_000

# The first one waits for the mesh, and on a machine that never had it for the page to be bundled.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A whole mesh with all that watches it; without Jaeger where that is not built."""
    if programs() is None:
        pytest.skip("there is no Prometheus, and Debian's packages can't be had")
    home = Home(Path(tmp_path_factory.mktemp("dashboards")))
    names = ["observability", *(["traces"] if jaeger.program().exists() else [])]
    environment = {"JAEGER_DECISION_WAIT": "3s", "MARQUEE_ALERTS_FOR": "1s", "MARQUEE_SCRAPE_INTERVAL": "2s"}
    async with stacks.started(home, names, environment) as started:
        if not (bundle.folder() / "index.html").exists():
            pytest.skip("the page could not be made: see what npm says in the log of dash")
        yield started


@pytest.fixture
def address(stack: Stack) -> str:
    """Of the page."""
    return f"http://{stack.address(dash_server.DASH, 'http')}"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
async def test_each_dashboard_is_drawn(browser: Any, address: str, dashboard: Dashboard) -> None:
    async with tab(browser, address) as seen:
        await look(seen, dashboard)


async def look(seen: Tab, dashboard: Dashboard) -> None:
    await seen.page.set_viewport_size({"width": 1600, "height": 1500})
    await seen.open(f"/dash/{dashboard.name}")
    # Numbers and lines are drawn on canvases. Those that can't be seen yet wait to be scrolled to.
    await seen.page.locator("[data-testid=panel] canvas").nth(3).wait_for(timeout=_PATIENCE_MS)
    await seen.picture(f"dashboard-{dashboard.name}")
    text = await seen.page.inner_text("body")
    assert dashboard.purpose in text
    for row in dashboard.rows:
        assert row.title in text
    assert "NaN" not in text
    assert not await seen.page.get_by_role("button", name="Edit", exact=True).is_visible()
    assert seen.complaints == []
    seen.stays_at_home()


async def test_what_fires_is_told_with_what_to_do(browser: Any, stack: Stack, address: str) -> None:
    async with tab(browser, address) as seen:
        await seen.page.set_viewport_size({"width": 1600, "height": 1200})
        await seen.open("/dash/alerts")
        with hung(pid_of(stack, "redis-exporter")):
            for told in ("MarqueeTargetDown", "redis is not scraped", "its last words"):
                await seen.page.get_by_text(told).first.wait_for(timeout=_PATIENCE_MS)
            await seen.picture("dashboard-alerts")
        await seen.page.get_by_text("redis is not scraped").wait_for(state="hidden", timeout=_PATIENCE_MS)
        assert seen.complaints == []
        seen.stays_at_home()


async def test_lines_of_all_processes_are_listed_and_searched(browser: Any, address: str) -> None:
    async with tab(browser, address) as seen:
        await seen.page.set_viewport_size({"width": 1600, "height": 1200})
        await seen.open("/dash/logs?since=1h&service=ranking_svc")
        await seen.page.get_by_text("ranking_svc serves on").first.wait_for(timeout=_PATIENCE_MS)
        await seen.picture("dashboard-logs")
        services = await seen.page.locator("tbody tr td:nth-child(3)").all_inner_texts()
        assert set(services) == {"ranking_svc"}
        assert seen.complaints == []


async def test_a_rating_is_found_as_a_waterfall_which_leads_to_its_lines_and_back(
    browser: Any, stack: Stack, address: str
) -> None:
    if jaeger.JAEGER not in {key.partition("/")[0] for key in stack.ports}:
        pytest.skip("Jaeger is not built here: scripts/jaeger.sh builds it, in minutes")
    trace = await rate(stack)
    async with tab(browser, address) as seen:
        page = seen.page
        # Rows that can't be seen are not drawn.
        await page.set_viewport_size({"width": 1600, "height": 2200})
        await seen.open("/dash/traces?since=15m&service=ranking_svc")
        listed = page.locator(f'a[href$="/traces/{trace}"]')
        await listed.wait_for(timeout=_PATIENCE_MS)
        await seen.picture("dashboard-traces")
        await listed.click()

        await seen.shown("refresh charts")
        text = await page.inner_text("[data-page=trace]")
        for process in ("edge", *(each.process(role) for each in SERVICES for role in each.roles)):
            assert process in text
        for step in ("RateMovie", "send marquee.ratings", "postgresql COMMIT", "redis EVALSHA"):
            assert step in text
        cut_off = """() => [...document.querySelectorAll('[data-page=trace] strong')]
            .map((name) => name.parentElement).filter((cell) => cell.scrollWidth > cell.clientWidth)
            .map((cell) => cell.textContent)"""
        await page.wait_for_function(f"!({cut_off})().length", timeout=5_000)
        await page.get_by_text("postgresql COMMIT").first.click()
        await seen.shown("db.system.name")
        assert not await page.get_by_text("@jaeger@warnings").count()
        await seen.picture("dashboard-trace")

        await page.get_by_role("link", name="Its lines in the logs").click()
        await page.locator("[data-page=logs] tbody tr").first.wait_for(timeout=_PATIENCE_MS)
        await seen.picture("dashboard-trace-logs")
        services = set(await page.locator("tbody tr td:nth-child(3)").all_inner_texts())
        assert {"edge", "rating_svc", "rating_svc-worker"} <= services
        await page.get_by_role("link", name="spans").first.click()
        await seen.shown("refresh charts")
        assert page.url == f"{address}/dash/traces/{trace}"
        assert seen.complaints == []
        seen.stays_at_home()


async def rate(stack: Stack) -> str:
    """Rates a movie as an operator who has it traced; returns the trace's id."""
    trace = secrets.token_hex(16)
    headers = {
        "authorization": f"Bearer {tokens.issue(stack.home.tokens, 'alice')}",
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "marquee-trace": (stack.home.envoy / "trace-key").read_text(),
    }
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=15) as edge:
        answer = await edge.put("/v1/users/me/ratings/tt0111161", json={"score": 9}, headers=headers)
    assert answer.status_code == 200, answer.text
    return trace


async def test_of_a_trace_that_was_not_sampled_the_page_leads_to_the_logs(
    browser: Any, stack: Stack, address: str
) -> None:
    if jaeger.JAEGER not in {key.partition("/")[0] for key in stack.ports}:
        pytest.skip("Jaeger is not built here: scripts/jaeger.sh builds it, in minutes")
    async with tab(browser, address) as seen:
        await seen.open(f"/dash/traces/{secrets.token_hex(16)}")
        await seen.shown("it was not sampled")
        assert await seen.page.get_by_role("link", name="Its lines in the logs").is_visible()
