"""The documentation's site in a real browser: it is drawn without any other host, and one can read it."""

from pathlib import Path
from typing import Any

import pytest

from scripts.site import build
from tests.support.page.looking import tab


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made of what is there now."""
    pytest.importorskip("furo", reason="`make docs-site` installs what makes the site")
    out = tmp_path_factory.mktemp("site")
    assert build.main([str(out)]) == 0
    return out


@pytest.mark.parametrize("shape", ["light", "dark", "phone"])
async def test_a_page_with_a_diagram_is_drawn(browser: Any, site: Path, shape: str) -> None:
    async with tab(browser, f"file://{site}", shape) as at:
        await at.open("/architecture.html")
        await at.page.locator("pre.mermaid svg").wait_for()
        await at.picture(f"site-{shape}")
        assert at.complaints == []
        assert all(url.startswith(f"file://{site}") for url in at.asked)


async def test_the_search_finds_a_page(browser: Any, site: Path) -> None:
    async with tab(browser, f"file://{site}") as at:
        await at.open("/search.html?q=RateMovie")
        await at.page.locator("ul.search a").get_by_text("Ratings: the contract").first.wait_for()
