"""The API reference in a real browser: it shows every call, and makes them with a token.

MARQUEE_SCREENSHOTS names a folder to keep pictures in.
"""

from typing import Any

from tests.support.edge.mesh import running_edge
from tests.support.page.looking import tab


def operation(at: Any, path: str, verb: str = "get") -> Any:
    """The block of one call."""
    return at.page.locator(f".opblock-{verb}").filter(has=at.page.locator(f'[data-path="{path}"]'))


async def test_calls_can_be_tried_with_a_token(browser: Any) -> None:
    async with running_edge() as edge, tab(browser, edge.url) as at:
        described = (await edge.http.get("/openapi.json")).json()["paths"]
        await at.open("/docs")
        await at.page.locator(".opblock").first.wait_for()
        assert await at.page.locator(".opblock").count() == sum(len(each) for each in described.values())
        await at.picture("docs")

        rate = operation(at, "/v1/users/{user}/ratings/{movie}", "put")
        await rate.locator(".opblock-summary-control").click()
        await rate.locator('[data-param-name="movie"] input').fill("tt0111161")
        await rate.locator("textarea").first.fill('{"score": 9}')
        await rate.get_by_role("button", name="Execute").click()
        status = rate.locator(".live-responses-table .response-col_status").last
        await status.get_by_text("401").wait_for()

        await at.page.get_by_role("button", name="Authorize").first.click()
        await at.page.locator(".modal-ux input").fill(edge.token())
        await at.page.locator("button.modal-btn.authorize").click()
        await at.page.get_by_role("button", name="Close").first.click()
        await rate.get_by_role("button", name="Execute").click()
        await status.get_by_text("200").wait_for()
        call = edge.service.calls[-1]
        assert (call.method, call.request.score, call.values("x-marquee-subject")) == (
            "RateMovie",
            9,
            ["ann"],
        )
        await at.picture("docs-call")

        # The token is kept in this tab, and nowhere else.
        assert await at.page.evaluate("localStorage.length") == 0
        await at.page.reload()
        await at.page.locator(".auth-wrapper .locked").first.wait_for()

        watch = operation(at, "/v1/movies/{movie}/score:watch")
        await watch.locator(".opblock-summary-control").click()
        await watch.locator('[data-param-name="movie"] input').fill("tt0111161")
        await watch.get_by_role("button", name="Execute").click()
        await watch.locator(".live-responses-table").get_by_text('"votes":2').first.wait_for()

        at.stays_at_home()
        assert [each for each in at.complaints if "401" not in each] == [], (
            "its policy lets it do all it does"
        )
