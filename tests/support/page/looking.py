"""A tab of the browser, and what must hold of every page in it."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support import node

SOURCES = Path(__file__).parent

SHAPES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "phone": {
        **{"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2},
        **{"is_mobile": True, "has_touch": True, "color_scheme": "light"},
    },
}


class Tab:
    """A page in a profile of its own."""

    def __init__(self, page: Any, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.on("request", lambda request: self.asked.append(request.url))

    async def open(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def shown(self, text: str) -> Any:
        """Waits until a text can be seen."""
        found = self.page.get_by_text(text, exact=False).first
        await found.wait_for(timeout=30_000)
        return found

    async def accessible(self) -> None:
        """Has axe look for what keeps people out, by all of its rules."""
        axe = node.packages(SOURCES) / "axe-core" / "axe.min.js"
        # Not as a script element: the page's own policy would refuse it.
        await self.page.evaluate(axe.read_text())
        found = await self.page.evaluate("async () => (await axe.run()).violations")
        told = [
            f"{each['id']}: {each['help']}: {[one['html'] for one in each['nodes']][:3]}" for each in found
        ]
        assert told == [], f"{self.page.url}: {told}"

    async def fits(self) -> None:
        """Nothing is wider than the screen."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await self.page.evaluate(wide) <= 0

    async def picture(self, name: str) -> None:
        """Keeps a picture where MARQUEE_SCREENSHOTS names a folder."""
        if folder := os.environ.get("MARQUEE_SCREENSHOTS"):
            await self.page.screenshot(path=str(Path(folder) / f"{name}.png"))

    def stays_at_home(self) -> None:
        """Everything that was asked for, was asked of the edge."""
        hosts = {urlsplit(url).netloc for url in self.asked if not url.startswith("data:")}
        assert hosts == {urlsplit(self.base).netloc}

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@contextlib.asynccontextmanager
async def tab(browser: Any, base: str, shape: str = "light") -> AsyncIterator[Tab]:
    """A tab that nobody else uses."""
    context = await browser.new_context(**SHAPES[shape])
    context.set_default_timeout(30_000)
    made = Tab(await context.new_page(), base)
    try:
        yield made
    except BaseException as error:
        error.add_note(f"{made.page.url} shows: {await made.page.inner_text('body')}")
        error.add_note(f"complaints: {made.complaints}")
        await made.picture("failed")
        raise
    finally:
        await context.close()
