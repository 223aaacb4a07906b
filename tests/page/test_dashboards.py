"""The page of dashboards in a real browser: each is drawn, and nothing can be edited.

MARQUEE_SCREENSHOTS names a folder to keep pictures in.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from k8s.dashboards.files import DASHBOARDS
from k8s.dashboards.model import Dashboard
from local.dash import bundle
from local.servers import dash_server
from local.stack.layout import Home
from tests.support import stacks
from tests.support.page.looking import Tab, tab
from tests.support.promtool import programs

_PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Of the page, beside a whole mesh."""
    if programs() is None:
        pytest.skip("there is no Prometheus, and Debian's packages can't be had")
    home = Home(Path(tmp_path_factory.mktemp("dashboards")))
    mesh = stacks.running(home, ["observability"])
    stack = await asyncio.to_thread(mesh.__enter__)
    try:
        if not (bundle.folder() / "index.html").exists():
            pytest.skip("the page could not be made: see what npm says in the log of dash")
        yield f"http://{stack.address(dash_server.DASH, 'http')}"
    finally:
        await asyncio.to_thread(mesh.__exit__, None, None, None)


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


async def test_lines_of_all_processes_are_listed_and_searched(browser: Any, address: str) -> None:
    async with tab(browser, address) as seen:
        await seen.page.set_viewport_size({"width": 1600, "height": 1200})
        await seen.open("/dash/logs?since=1h&service=ranking_svc")
        await seen.page.get_by_text("ranking_svc serves on").first.wait_for(timeout=_PATIENCE_MS)
        await seen.picture("dashboard-logs")
        services = await seen.page.locator("tbody tr td:nth-child(3)").all_inner_texts()
        assert set(services) == {"ranking_svc"}
        assert seen.complaints == []
