"""A real browser for the tests of what people see: `make test-page` brings what they need."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge import page_build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is, and that there is a page to look at."""
    if page_build.folder() is None:
        pytest.skip("the page was not bundled when Marquee was installed: see what `make install` says")
    found = subprocess.run([ROOT / "scripts" / "chromium.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no browser to look at the page with: {found.stderr.strip().splitlines()[-1]}")
    return found.stdout.strip().splitlines()[0]


@pytest.fixture(scope="session")
async def browser(chromium: str) -> AsyncIterator[Any]:
    """Headless Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.async_api", reason="`make test-page` installs Playwright")
    async with playwright.async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        await started.close()
