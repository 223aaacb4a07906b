"""The page for those who watch films, in a real browser before the whole mesh.

MARQUEE_SCREENSHOTS names a folder to keep pictures in.
"""

import uuid
from typing import Any

import httpx
import pytest

from edge import tokens
from local.commands import tokens as commands
from local.stack.layout import Stack
from tests.support.page.looking import SHAPES, Tab, tab
from tests.support.page.visit import visit
from tests.support.waiting import eventually

MOVIE = "tt0111161"
TITLE = "The Shawshank Redemption"


@pytest.fixture(scope="module")
async def base(mesh_stack: Stack) -> str:
    """The edge's address; the film is known there, and somebody has rated it."""
    url = f"http://{mesh_stack.address('envoy', 'edge')}"
    headers = {"authorization": f"Bearer {tokens.issue(mesh_stack.home.tokens, 'somebody')}"}
    async with httpx.AsyncClient(base_url=url, timeout=15) as api:

        async def known() -> bool:
            return (await api.get(f"/v1/movies/{MOVIE}")).status_code == 200

        await eventually(known, timeout=60, what="a film")
        rated = await api.put(f"/v1/users/me/ratings/{MOVIE}", json={"score": 7}, headers=headers)
        assert rated.status_code == 200, rated.text

        async def charted() -> bool:
            chart = (await api.get("/v1/charts/top-rated", headers={"cache-control": "no-cache"})).json()
            return any(each["title"] == TITLE for each in chart.get("entries", []))

        async def found() -> bool:
            """Searches see a title some seconds after it has come."""
            query = {"query": "shawshank red"}
            answer = await api.get("/v1/movies:search", params=query, headers={"cache-control": "no-cache"})
            return any(each["title"] == TITLE for each in answer.json().get("movies", []))

        await eventually(charted, timeout=60, what="a chart with the film")
        await eventually(found, timeout=60, what="a search that finds the film")
    return url


@pytest.fixture
def token(mesh_stack: Stack) -> str:
    """Somebody new, who has rated nothing."""
    return tokens.issue(mesh_stack.home.tokens, f"viewer-{uuid.uuid4()}")


async def sign_in(at: Tab, token: str) -> None:
    await at.page.get_by_label("Token").fill(token)
    await at.page.get_by_role("button", name="Sign in").click()


async def test_somebody_searches_signs_in_rates_and_finds_it_again(
    browser: Any, base: str, token: str
) -> None:
    async with tab(browser, base) as at:
        await at.open("/")
        await at.shown("Best rated")
        await at.page.get_by_label("Search films").press_sequentially("shawshank", delay=30)
        await at.page.get_by_role("heading", level=1, name="Search").wait_for()
        await at.page.get_by_role("link", name=TITLE).click()
        await at.page.get_by_role("heading", level=1, name=TITLE).wait_for()
        await at.shown("Tim Robbins")
        votes = at.page.locator("#votes")
        before = int((await votes.text_content()).split()[0])

        await at.page.get_by_role("main").get_by_role("link", name="Sign in").click()
        await at.shown("marquee token --user alice --link")
        await sign_in(at, "not a token")
        await at.shown("This is no token")
        await sign_in(at, token)

        await at.page.get_by_role("heading", level=1, name=TITLE).wait_for()
        await at.page.get_by_role("button", name="9 of 10").click()
        await at.shown("You gave it 9 of 10")
        # Without a click: the stream tells.
        await at.shown(f"{before + 1} votes")

        await at.page.get_by_role("link", name="My ratings").click()
        await at.page.get_by_role("main").get_by_role("link", name=TITLE).click()
        await at.page.get_by_role("button", name="9 of 10", pressed=True).wait_for()
        await at.page.get_by_role("button", name="Delete my rating").click()
        await at.shown("Your rating is deleted")
        await at.shown(f"{before} vote")
        at.stays_at_home()
        # A rating that is not there is a 404, of which browsers tell.
        assert [each for each in at.complaints if "404" not in each] == []


async def test_a_link_brings_a_token_and_signs_nobody_in_by_itself(
    browser: Any, base: str, token: str, mesh_stack: Stack
) -> None:
    async with tab(browser, base) as at:
        await at.page.goto(commands.link(mesh_stack.home, token))
        button = at.page.get_by_role("button", name="Sign in as viewer-")
        await button.wait_for()
        assert at.page.url == f"{base}/sign-in", "the token is in no address any more"
        assert await at.page.evaluate("sessionStorage.length") == 0, "nobody is signed in without a word"
        await button.click()
        await at.shown("Signed in as")
        assert [each for each in at.asked if token in each] == [], (
            "no server was sent the token in an address"
        )


async def test_it_all_works_by_keyboard(browser: Any, base: str, token: str) -> None:
    async with tab(browser, base) as at:
        keys = at.page.keyboard
        await at.open("/sign-in?back=/")
        await at.page.get_by_label("Token").focus()
        await keys.insert_text(token)
        await keys.press("Tab")
        await keys.press("Enter")
        await at.shown("Best rated")
        await at.open("/")
        await at.shown("Best rated")
        for expected in ("Skip to the content", "Marquee"):
            await keys.press("Tab")
            assert await at.page.evaluate("document.activeElement.textContent") == expected
        await keys.press("Tab")
        await keys.type("shawshank red")
        await at.shown("One film")
        assert await at.page.evaluate("document.activeElement.id") == "query", "one can type on"
        for _ in range(3):
            await keys.press("Tab")
        await keys.press("Enter")
        await at.page.get_by_role("heading", level=1, name=TITLE).wait_for()
        await at.page.locator("h1:focus").wait_for()  # where reading goes on
        for _ in range(8):
            await keys.press("Tab")
        await keys.press("Enter")
        await at.shown("You gave it 8 of 10")


async def test_charts_are_chosen_by_genre_and_decade(browser: Any, base: str) -> None:
    async with tab(browser, base) as at:
        await at.open("/charts")
        await at.page.get_by_role("link", name=TITLE).wait_for()
        await at.page.get_by_label("Decade").select_option("1920")
        await at.shown("There is no film in this chart yet")
        await at.page.get_by_label("Decade").select_option("1990")
        await at.page.get_by_label("Genre").select_option("Drama")
        await at.page.get_by_label("Order").select_option("most-voted")
        await at.page.get_by_role("link", name=TITLE).wait_for()
        assert "kind=most-voted&genre=Drama&decade=1990" in at.page.url
        await at.page.reload()
        await at.page.get_by_role("link", name=TITLE).wait_for()
        assert await at.page.get_by_label("Genre").input_value() == "Drama", "an address can be passed on"


async def test_what_goes_wrong_is_said_in_words(browser: Any, base: str, mesh_stack: Stack) -> None:
    async with tab(browser, base) as at:
        await at.open("/films/tt9999998")
        await at.shown("No such film")
        await at.open("/search?q=qqqqzzzz")
        await at.shown("There is no film called")

        await at.page.route("**/v1/charts/**", lambda route: route.abort())
        await at.open("/charts")
        await at.shown("Marquee can't be reached. Check your connection and try again.")
        await at.page.unroute("**/v1/charts/**")
        await at.page.get_by_role("button", name="Try again").click()
        await at.page.get_by_role("link", name=TITLE).wait_for()

        async def limited(route: Any) -> None:
            body = '{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "too many"}}'
            await route.fulfill(status=429, headers={"retry-after": "2"}, body=body)

        await at.page.route("**/v1/charts/**", limited)
        await at.page.reload()
        await at.shown("Wait 2 seconds and try again")
        await at.page.unroute("**/v1/charts/**")

        await at.open("/sign-in")
        await sign_in(at, tokens.issue(mesh_stack.home.tokens, "late", ttl_s=-60))
        await at.shown("This token has expired")
        foreign = tokens.issue(mesh_stack.home.tokens, "stranger", audience="elsewhere")
        await sign_in(at, foreign)
        await at.shown("This Marquee does not accept your token")


@pytest.mark.parametrize("shape", SHAPES)
async def test_nobody_is_kept_out(browser: Any, base: str, token: str, shape: str) -> None:
    async with tab(browser, base, shape) as at:
        await at.open("/sign-in?back=/")
        await at.accessible()
        await at.picture(f"{shape}-sign-in")
        await sign_in(at, token)
        for name, path, text in (
            ("home", "/", TITLE),
            ("charts", "/charts", TITLE),
            ("search", "/search?q=the+shawshank", TITLE),
            ("film", f"/films/{MOVIE}", "place"),
            ("missing", "/films/tt9999998", "No such film"),
            ("ratings", "/ratings", "You have not rated"),
        ):
            await at.open(path)
            await at.shown(text)
            await at.accessible()
            await at.fits()
            await at.picture(f"{shape}-{name}")
        await at.open(f"/films/{MOVIE}")
        await at.page.get_by_role("button", name="6 of 10").click()
        await at.shown("You gave it 6 of 10")
        await at.accessible()
        await at.picture(f"{shape}-rated")
        at.stays_at_home()


async def test_a_first_visit_is_light(browser: Any, base: str) -> None:
    cost = await visit(browser, base)
    print(cost)
    assert cost.page_bytes < 150_000
    assert cost.requests <= 6, "HTML, script, style, and a call for each chart"
    assert cost.usable_ms >= cost.painted_ms > 0
