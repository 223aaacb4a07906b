"""The page of dashboards beside the real mesh: each panel asked under a small load, and the page itself."""

import asyncio
import contextlib
import csv
import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import tokens
from k8s.dashboards.files import DASHBOARDS
from k8s.dashboards.model import WINDOW, Dashboard, Panel, Query
from local.commands import tracelog
from local.servers import jaeger, shipper
from local.stack import state as states
from local.stack.layout import Home, Stack, checkout
from local.supervision import processes
from mesh.tasks import end
from tests.support.command import run
from tests.support.promtool import programs
from tests.support.waiting import eventually

# The first one waits for the mesh, and on a machine that never had it for the page to be bundled.
pytestmark = pytest.mark.timeout(1200)

# A busy machine takes minutes until the index is ready.
PATIENCE_S = 1000.0
FILMS = checkout() / "local" / "omdb_simulator" / "films.csv"
TRACED = jaeger.program().exists()
"""Whether Jaeger is built here (`scripts/jaeger.sh`)."""
OBSERVERS = {process.name for process in (*processes.OBSERVERS, *([processes.COLLECTOR] if TRACED else []))}
MOVIES = [row["imdbID"] for row in csv.DictReader(FILMS.read_text().splitlines()) if row["Type"] == "movie"]


def send(
    url: str, method: str = "GET", body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def calls(number: int) -> Iterator[tuple[str, str, object]]:
    """One of each kind: known and unknown movies, charts, ratings, what is refused, what is not there."""
    # Now and then one that nobody has rated before, and one that nobody has asked for.
    movie = MOVIES[number // 4 % len(MOVIES)]
    yield f"/v1/movies/{movie}", "GET", None
    yield f"/v1/movies/tt{9_000_000 + number // 2}", "GET", None
    yield f"/v1/movies/{movie}/score", "GET", None
    yield "/v1/movies/nonsense/score", "GET", None
    yield f"/v1/movies:search?query=the%20{number % 7}", "GET", None
    yield "/v1/charts/top-rated", "GET", None
    yield f"/v1/users/me/ratings/{movie}", "PUT", {"score": 1 + number % 10}
    yield f"/v1/users/me/ratings/{movie}", "PUT", {"score": 77}
    yield "/v1/users/me/ratings", "GET", None
    yield "/nothing", "GET", None


async def load(stack: Stack) -> None:
    """Calls forever, a few a second."""
    token = tokens.issue(stack.home.tokens, "alice", (), 3600, "partner")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for number in range(1_000_000):
        for path, method, body in calls(number):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(send, stack.edge_url + path, method, body, headers)
        await asyncio.sleep(0.2)


class Page:
    """The page's server."""

    def __init__(self, stack: Stack, said: str) -> None:
        """`said`: what `marquee up` said."""
        self.stack = stack
        self.said = said
        self.url = f"http://{stack.address('dash', 'http')}"

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(send, self.url + path, method, None, headers)

    async def ask(self, query: Query) -> list[list[float]] | str:
        """The values of each line in the last quarter of a minute, as the page asks for them; or an error."""
        now = time.time()
        asked = {
            "query": query.expression.replace(WINDOW, "[20s]"),
            "start": str(now - 15),
            "end": str(now),
            "step": "5",
        }
        path = f"/dash/prometheus/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        try:
            status, body = await self.get(path)
        except OSError as error:
            return f"{error!r} of {query.expression}"
        if status != 200:
            return f"{status} of {query.expression}: {body[:500]!r}"
        lines: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return [[float(value) for _, value in line["values"]] for line in lines]

    async def wrong(self, panel: Panel) -> str:
        """What is wrong with a panel; nothing if each of its queries shows something."""
        for query in panel.queries:
            lines = await self.ask(query)
            if isinstance(lines, str):
                return f"{panel.title}: {lines}"
            if any(math.isnan(value) for line in lines for value in line):
                return f"{panel.title}: NaN of {query.expression}"
            wanted = TRACED if "traces_span_metrics" in query.expression else not panel.quiet
            if not lines and wanted:
                return f"{panel.title}: nothing of {query.expression}"
        return ""


@pytest.fixture(scope="module")
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    if programs() is None:
        pytest.skip("there is no Prometheus, and Debian's packages can't be had")
    home = Home(Path(tmp_path_factory.mktemp("dashboards")))
    # No recorded answers of OMDb: the built-in ones are known here.
    environment = {
        "MARQUEE_SCRAPE_INTERVAL": "1s",
        "MARQUEE_TRACE_RATIO": "1",
        "MARQUEE_DATA": str(home.root),
    }
    if not TRACED:
        # Spans go nowhere then, and it is not built for minutes.
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    try:
        up = await asyncio.to_thread(
            run, home, "up", "--observability", environment=environment, patience_s=PATIENCE_S
        )
        assert up.returncode == 0, up.stdout + up.stderr
        stack = states.running(home).stack(home)
        loading = asyncio.create_task(load(stack))
        try:
            yield Page(stack, up.stdout)
        finally:
            await end([loading])
    finally:
        await asyncio.to_thread(run, home, "down")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
async def test_each_panel_shows_something_under_a_small_load(page: Page, dashboard: Dashboard) -> None:
    # Some move only now and then: each must have shown something once.
    unseen = dict(dashboard.panels())
    remaining: list[str] = []

    async def filled() -> bool:
        remaining.clear()
        for key, panel in list(unseen.items()):
            if wrong := await page.wrong(panel):
                remaining.append(wrong)
            else:
                del unseen[key]
        return not unseen

    try:
        await eventually(filled, 120, 1.0)
    except (AssertionError, TimeoutError):
        pytest.fail("\n".join(remaining))


async def test_the_page_offers_all_dashboards_and_says_how_often_prometheus_looks(page: Page) -> None:
    offered = json.loads((await page.get("/dash/pages.json"))[1])
    more = ["alerts", "traces", "logs"] if TRACED else ["alerts", "logs"]
    assert [each["name"] for each in offered["pages"]] == [*(each.name for each in DASHBOARDS), *more]
    assert offered["scrapeInterval"] == "1s"
    for each in DASHBOARDS:
        status, body = await page.get(f"/dash/dashboards/{each.name}.json")
        assert status == 200
        assert json.loads(body)["metadata"]["name"] == each.name
    assert (await page.get("/dash/dashboards/..%2f..%2fREADME.json"))[0] == 404


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/dash/prometheus/api/v1/admin/tsdb/delete_series?match[]=up", "POST"),
        ("/dash/prometheus/api/v1/write", "POST"),
        ("/dash/prometheus/-/quit", "POST"),
        ("/dash/prometheus/api/v1/..%2f..%2f..%2f-%2fquit", "POST"),
        ("/dash/prometheus/api/v1/query", "DELETE"),
        ("/dash/dashboards/overview.json", "PUT"),
    ],
)
async def test_nothing_can_be_changed_through_the_page(page: Page, path: str, method: str) -> None:
    assert (await page.get(path, method))[0] in (403, 404, 405)


async def test_pages_of_other_origins_are_not_answered(page: Page) -> None:
    """A name that an outsider lets point to this machine, and a form on another page."""
    assert (await page.get("/dash/pages.json", Host="evil.example"))[0] == 403
    assert (await page.get("/dash/pages.json", **{"Sec-Fetch-Site": "cross-site"}))[0] == 403


async def test_the_public_edge_has_no_such_page(page: Page) -> None:
    assert (await asyncio.to_thread(send, f"{page.stack.edge_url}/dash/"))[0] == 404


async def test_a_call_is_found_in_the_index_and_by_its_trace_in_all_services(page: Page) -> None:
    stack, request_id, trace = page.stack, str(uuid.uuid4()), uuid.uuid4().hex
    token = tokens.issue(stack.home.tokens, "trace-me")
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "x-request-id": request_id,
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }
    url = f"{stack.edge_url}/v1/users/me/ratings/{MOVIES[0]}"
    status, body = await asyncio.to_thread(send, url, "PUT", {"score": 8}, headers)
    assert status == 200, body

    async def lines(**asked: str) -> list[dict[str, Any]]:
        status, body = await page.get(f"/dash/logs.json?{urllib.parse.urlencode(asked)}")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["lines"]
        return found

    async def everywhere() -> list[dict[str, Any]]:
        found = await lines(words=request_id)
        return found if {each["service"] for each in found} >= {"edge", "rating_svc"} else []

    found = await eventually(everywhere, 60, 0.5)
    (of_service,) = {each["trace"] for each in found if each["service"] == "rating_svc"}
    services = {each["service"] for each in await lines(trace=of_service)}
    assert services >= {"rating_svc"}
    from_files = tracelog.find(stack.home, request_id)
    assert {each.service for each in from_files} >= {"edge", "rating_svc"}
    times = [each["time"] for each in found]
    assert times == sorted(times, reverse=True)
    assert len({(each["time"], each["service"], each["message"]) for each in found}) == len(found), "twice"


async def test_status_shows_each_part_that_watches_and_together_they_take_less_than_a_gibibyte(
    page: Page,
) -> None:
    assert page.url in page.said

    async def all_ready() -> list[dict[str, Any]]:
        said = await asyncio.to_thread(run, page.stack.home, "status", "--json")
        lines = [each for each in json.loads(said.stdout)["processes"] if each["name"] in OBSERVERS]
        return lines if {each["condition"] for each in lines} == {"ready"} else []

    watching = await eventually(all_ready, 60, 1.0)
    assert {each["name"] for each in watching} == OBSERVERS
    for each in watching:
        assert each["pid"]
        assert each["memory_mib"] > 0
        assert each["address"] or each["name"] == shipper.SHIPPER
    print({each["name"]: each["memory_mib"] for each in watching})
    assert sum(each["memory_mib"] for each in watching) < 1024
    shown = (await asyncio.to_thread(run, page.stack.home, "status")).stdout
    for each in watching:
        assert re.search(rf"^{each['name']} .*\b{each['pid']}\b", shown, re.MULTILINE), shown
