"""Signing in at a real OIDC provider (npm's oidc-provider), by authorization code with PKCE."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edge.issuer import IssuerConfig
from tests.support import node
from tests.support.edge.mesh import running_edge
from tests.support.page.looking import SOURCES, tab
from tests.support.ports import free_port

AUDIENCE = "https://api.marquee.test"


@contextlib.asynccontextmanager
async def provider(folder: Path, edge_port: int, lasts_s: int) -> AsyncIterator[str]:
    """Runs a provider whose access tokens last so long; its address."""
    packages = await asyncio.to_thread(node.packages, SOURCES)
    # Node looks for packages beside the program.
    program = Path(shutil.copy(SOURCES / "provider.mjs", folder))
    (folder / "node_modules").symlink_to(packages)
    port = free_port()
    words = [str(port), f"http://127.0.0.1:{edge_port}/sign-in", AUDIENCE, str(lasts_s)]
    with (folder / "provider.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig=SIGTERM", "--", node.node().program, str(program), *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        assert said == b"ready\n", (folder / "provider.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def sign_in(page: Any, name: str) -> None:
    await page.get_by_role("button", name="Sign in").click()
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()


@contextlib.asynccontextmanager
async def edge_of(browser: Any, folder: Path, lasts_s: int = 600) -> AsyncIterator[Any]:
    """An edge that takes a provider's tokens, and a tab at it."""
    edge_port = free_port()
    async with provider(folder, edge_port, lasts_s) as issuer:
        given = IssuerConfig(
            jwks_url=f"{issuer}/jwks", issuer=issuer, audience=AUDIENCE, client_id="marquee-page"
        )
        async with (
            running_edge(edge_port=edge_port, issuer=given, jwks=None) as edge,
            tab(browser, f"http://127.0.0.1:{edge_port}") as at,
        ):
            yield edge, at


async def test_a_user_of_the_provider_signs_in_and_rates(browser: Any, tmp_path: Path) -> None:
    async with edge_of(browser, tmp_path) as (edge, at):
        await at.open("/films/tt0111161")
        await at.page.get_by_role("main").get_by_role("link", name="Sign in").click()
        await at.shown("Marquee does not see your password")
        await at.accessible()
        await sign_in(at.page, "ann")
        await at.page.get_by_role("button", name="9 of 10").click()
        await at.shown("You gave it 9 of 10")
        assert at.page.url.endswith("/films/tt0111161"), "back where it began, no code in the address"
        call = next(each for each in reversed(edge.service.calls) if each.method == "RateMovie")
        assert (call.request.score, call.values("x-marquee-subject")) == (9, ["ann"])

        await at.page.get_by_role("link", name="My ratings").click()
        await at.shown("Signed in as")
        await at.shown("ann")
        await at.page.get_by_role("button", name="Sign out").click()
        await at.shown("to see what you have rated")


async def test_a_token_is_renewed_before_it_ends(browser: Any, tmp_path: Path) -> None:
    # Shorter than what the page takes for nearly over: each call renews it.
    async with edge_of(browser, tmp_path, lasts_s=20) as (_, at):
        await at.open("/sign-in?back=/films/tt0111161")
        await sign_in(at.page, "ann")
        await at.page.get_by_role("button", name="4 of 10").click()
        await at.shown("You gave it 4 of 10")
        renewed = [each for each in at.asked if each.endswith("/token")]
        assert len(renewed) >= 2, "the code's exchange, and a renewal"


async def test_an_answer_that_nobody_asked_for_signs_nobody_in(browser: Any, tmp_path: Path) -> None:
    async with edge_of(browser, tmp_path) as (_, at):
        await at.open("/sign-in?code=stolen&state=made-up")
        await at.shown("This sign-in was not begun in this tab")
        await at.open("/")
        await at.page.get_by_role("link", name="Sign in").wait_for()
