"""What the page costs somebody who opens it for the first time: `python -m tests.load.page [URL]`.

On a mesh that is up. `make test-page` installs what it needs.
"""

import asyncio
import importlib
import subprocess
import sys
from statistics import median
from typing import Any

from tests.support.page.visit import Visit, visit

_VISITS = 7


async def main(url: str, chromium: str) -> None:
    """Prints a table: this machine, and a phone on a slow net."""
    # Only here: nothing else needs Playwright.
    playwright = importlib.import_module("playwright.async_api")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(f"Chromium {browser.version}, {url}, the median of {_VISITS} first visits")
        print("| as | requests | KB in all | KB of the page | first words | can be used | charts shown |")
        print("|---|---|---|---|---|---|---|")
        for name, phone in (("this machine", False), ("a phone, 1.6 Mbit/s, 4 times slower", True)):
            print(line(name, [await visit(browser, url, phone=phone) for _ in range(_VISITS)]))
        await browser.close()


def line(name: str, visits: list[Visit]) -> str:
    """One line of the table."""

    def middle(part: str) -> Any:
        return median(getattr(each, part) for each in visits)

    times = " | ".join(f"{middle(part):,.0f} ms" for part in ("painted_ms", "usable_ms", "shown_ms"))
    sizes = " | ".join(f"{middle(part) / 1000:.1f}" for part in ("sent_bytes", "page_bytes"))
    return f"| {name} | {middle('requests'):.0f} | {sizes} | {times} |"


if __name__ == "__main__":
    found = subprocess.run(["scripts/chromium.sh"], capture_output=True, text=True, check=True)
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8080", found.stdout.split()[0]))
