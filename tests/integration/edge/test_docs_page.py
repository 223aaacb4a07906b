"""The API's page in a real browser: it shows every call, and makes them with a token.

MARQUEE_SCREENSHOTS names a folder to keep the pictures in.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.edge.browser import browser
from tests.support.edge.mesh import running_edge

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def chromium() -> str:
    found = subprocess.run([ROOT / "scripts" / "chromium.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no browser to look at the page with: {found.stderr.strip().splitlines()[-1]}")
    return found.stdout.strip().splitlines()[0]


def operation(title: str) -> str:
    return (
        "[...document.querySelectorAll('details.operation')]"
        f".find((each) => each.querySelector('.title').textContent.startsWith({json.dumps(title)}))"
    )


async def test_calls_can_be_tried_with_a_token(chromium: str, tmp_path: Path) -> None:
    pictures: dict[str, bytes] = {}
    async with running_edge() as edge, browser(chromium) as page:
        await page.open(f"{edge.url}/docs")
        shown = await page.until("document.querySelectorAll('details.operation').length")
        assert shown == 17
        assert await page.run("document.querySelector('#about table').textContent.includes('partner')"), (
            "limits"
        )
        pictures["docs"] = await page.screenshot()

        rate = operation("Gives a movie a score")
        await page.run(f"{rate}.querySelector('summary').click()")
        await page.run(f"{rate}.querySelector('button[type=submit]').click()")
        refused = await page.until(f"{rate}.querySelector('.status').textContent.match(/^[0-9]{{3}}.*/)?.[0]")
        assert refused.startswith("401"), "without a token"

        await page.run(
            f"(() => {{ const field = document.querySelector('#token'); field.value = '{edge.token()}';"
            " field.dispatchEvent(new Event('input')); })()"
        )
        await page.run(f"{rate}.querySelector('button[type=submit]').click()")
        await page.until(f"{rate}.querySelector('.status').textContent.startsWith('200')")
        # The headers stand there first, and the body when it has come.
        await page.until(f"{rate}.querySelector('.result .body').textContent.includes('\"score\": 9')")
        body = await page.run(f"{rate}.querySelector('.result .body').textContent")
        assert "ratelimit-remaining: " in body
        curl = await page.run(f"{rate}.querySelector('.curl').textContent")
        assert "Bearer $TOKEN" in curl
        assert edge.token() not in curl
        call = edge.service.calls[-1]
        assert (call.method, call.request.score, call.values("x-marquee-subject")) == (
            "RateMovie",
            9,
            ["ann"],
        )
        await page.run(f"{rate}.scrollIntoView()")
        pictures["docs-call"] = await page.screenshot()

        watch = operation("Streams a movie")
        await page.run(f"{watch}.querySelector('summary').click()")
        await page.run(f"{watch}.querySelector('button[type=submit]').click()")
        await page.until(f"{watch}.querySelector('.result .body').textContent.includes('\"votes\":2')")

        unexpected = [each for each in page.complaints if "401" not in each]
        assert unexpected == [], "the page's own policy lets it do all it does"
    for name, picture in pictures.items():
        (Path(os.environ.get("MARQUEE_SCREENSHOTS", tmp_path)) / f"{name}.png").write_bytes(picture)
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000, "not an empty page"
