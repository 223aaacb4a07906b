"""The files of the page for people, as Envoy serves them: kept forever, compressed, and restricted."""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from edge import page_build
from edge.issuer import IssuerConfig
from tests.support.edge.mesh import Edge, running_edge

BROWSER = {"accept": "text/html,*/*;q=0.8", "accept-encoding": "gzip, deflate, br, zstd"}


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as running:
        yield running


@pytest.fixture
def built() -> Path:
    folder = page_build.folder()
    if folder is None:
        pytest.skip("the page was not bundled when Marquee was installed: see what `make install` says")
    return folder


async def raw(edge: Edge, path: str, coding: str) -> tuple[httpx.Response, bytes]:
    """An answer with its body as it came."""
    request = edge.http.build_request("GET", path, headers={"accept-encoding": coding})
    answer = await edge.http.send(request, stream=True)
    body = b"".join([part async for part in answer.aiter_raw()])
    return answer, body


async def test_a_first_visit_is_small_and_the_next_takes_nothing_but_the_html(
    edge: Edge, built: Path
) -> None:
    page = (await edge.http.get("/", headers=BROWSER)).text
    paths = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page)
    assert len(paths) == 2
    bytes_sent = len(page)
    for path in paths:
        answer, body = await raw(edge, path, "gzip")
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(body) == (built / Path(path).name).read_bytes()
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        bytes_sent += len(body)
    assert bytes_sent < 150_000
    assert (await edge.http.get("/", headers=BROWSER)).headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("br", "br"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.0,gzip;q=0", None),
        ("identity", None),
        ("brotli-like", None),
    ],
)
async def test_assets_come_in_a_coding_that_the_client_takes(
    edge: Edge, built: Path, accepted: str, chosen: str | None
) -> None:
    for path in re.findall(r'"(/assets/[^"]+)"', (await edge.http.get("/docs")).text):
        answer, body = await raw(edge, path, accepted)
        assert answer.headers.get("content-encoding") == chosen
        assert "accept-encoding" in answer.headers["vary"]
        ending = {"br": ".br", "gzip": ".gz", None: ""}[chosen]
        assert body == (built / f"{Path(path).name}{ending}").read_bytes()


@pytest.mark.parametrize("path", ["/charts", "/search?q=heat", "/ratings", "/sign-in", "/films/tt0111161"])
async def test_each_view_has_an_address_that_can_be_opened(edge: Edge, built: Path, path: str) -> None:
    page, root = await edge.http.get(path), await edge.http.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert page.text == root.text


async def test_an_address_of_no_view_stays_an_error(edge: Edge) -> None:
    for path in ("/films/", "/films/nm1", "/chart", "/assets/", "/assets/main.js"):
        answer = await edge.http.get(path, headers=BROWSER)
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND"), path


async def test_the_page_may_reach_the_sign_in_that_is_configured_and_nobody_else() -> None:
    given = IssuerConfig(
        jwks_url="http://127.0.0.1:9/keys",
        issuer='https://login.example/"realm',
        client_id="page",
        origins="https://tokens.example",
    )
    async with running_edge(issuer=given, jwks=None, expect_ready=False) as edge:
        page = await edge.http.get("/", headers=BROWSER)
        policy = page.headers["content-security-policy"]
        assert "connect-src 'self' https://login.example https://tokens.example;" in policy
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        )
        if page_build.folder():
            assert "https://login.example/\\&quot;realm" in page.text, "within the attribute"


async def test_without_a_bundle_a_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_build, "folder", lambda: None)
    async with running_edge() as edge:
        for path in ("/", "/docs"):
            page = await edge.http.get(path, headers=BROWSER)
            assert page.status_code == 200
            assert "make install" in page.text
            for link in re.findall(r'href="([^"]+)"', page.text):
                assert (await edge.http.get(link)).status_code == 200, link
        assert (await edge.http.get("/charts")).status_code == 404
