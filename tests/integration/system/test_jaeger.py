"""Jaeger beside the mesh, by its own API: what an operator has traced, whole; what it keeps and counts."""

import asyncio
import json
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from edge import tokens
from local.commands import usage
from local.dash.app import Page, Settings
from local.servers import jaeger
from local.stack.layout import Home, Stack
from tests.support import stacks
from tests.support.parts import hung, pid_of
from tests.support.rating_trace import LAST, assert_whole
from tests.support.traces import Told, path_to
from tests.support.waiting import eventually

MINE = "/v1/users/me/ratings/tt0111161"
_STEPS = 42
"""Spans of a rating's trace."""


class Mesh(NamedTuple):
    stack: Stack
    edge: httpx.AsyncClient
    jaeger: httpx.AsyncClient

    async def rate(self, score: int, *, traced: bool) -> str:
        """Rates a movie as somebody new; returns the id of the trace that the client says this is part of."""
        trace_id = secrets.token_hex(16)
        token = tokens.issue(self.stack.home.tokens, f"user-{trace_id}")
        headers = {
            "authorization": f"Bearer {token}",
            "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        }
        if traced:
            headers["marquee-trace"] = (self.stack.home.envoy / "trace-key").read_text()
        answer = await self.edge.put(MINE, json={"score": score}, headers=headers)
        assert answer.status_code == 200, answer.text
        return trace_id

    async def trace(self, trace_id: str) -> list[Told]:
        """The spans that Jaeger has of a trace."""
        answer = await self.jaeger.get(f"/api/traces/{trace_id}")
        return told(answer.json().get("data") or [])

    async def whole(self, trace_id: str) -> list[Told]:
        """Those of a rating, once they have come to the chart."""

        async def there() -> list[Told]:
            found = await self.trace(trace_id)
            path = path_to(found, *LAST)
            # Each process sends on its own, the edge later than others.
            return found if path and path[0].startswith("edge: ") else []

        return await eventually(there, 60, 0.2)


def told(traces: list[dict[str, Any]]) -> list[Told]:
    """Spans in Jaeger's own form."""
    found = []
    for trace in traces:
        services = {key: process["serviceName"] for key, process in trace["processes"].items()}
        for span in trace["spans"]:
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            above = [each for each in span["references"] if each["refType"] == "CHILD_OF"]
            links = [each["traceID"] for each in span["references"] if each["refType"] != "CHILD_OF"]
            found.append(
                Told(
                    services[span["processID"]],
                    span["operationName"],
                    span["traceID"],
                    span["spanID"],
                    above[0]["spanID"] if above else "",
                    str(tags.get("span.kind", "")).upper(),
                    tags,
                    links,
                    tags.get("error") is True,
                    span["duration"] / 1e6,
                )
            )
    return found


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    if not jaeger.program().exists():
        pytest.skip("Jaeger is not built here: scripts/jaeger.sh builds it, in minutes")
    home = Home(Path(tmp_path_factory.mktemp("jaeger")))
    environment = {"MARQUEE_TRACE_RATIO": "0", "JAEGER_DECISION_WAIT": "3s"}
    async with (
        stacks.started(home, ["traces"], environment) as stack,
        httpx.AsyncClient(base_url=f"http://{stack.address('envoy', 'edge')}", timeout=15) as edge,
        httpx.AsyncClient(base_url=f"http://{stack.address('jaeger', 'http')}", timeout=15) as asked,
    ):
        yield Mesh(stack, edge, asked)


async def test_jaeger_has_an_operators_rating_whole_from_the_call_to_the_chart(mesh: Mesh) -> None:
    assert_whole(await mesh.whole(await mesh.rate(9, traced=True)))


async def test_jaeger_has_nothing_that_an_outsider_asked_for(mesh: Mesh) -> None:
    theirs = await mesh.rate(3, traced=False)
    await mesh.whole(await mesh.rate(4, traced=True))  # later: theirs would be there by now
    assert not await mesh.trace(theirs)


async def test_a_call_that_failed_is_kept_though_it_was_not_sampled(mesh: Mesh) -> None:
    async def kept() -> list[Told]:
        asked = {"service": "movie_svc", "tags": json.dumps({"marquee.sampled": "false"})}
        answer = await mesh.jaeger.get("/api/traces", params=asked)
        return [each for each in told(answer.json()["data"]) if each.name.endswith("/GetMovie")]

    assert not await kept()
    with hung(pid_of(mesh.stack, "omdb")):
        answer = await mesh.edge.get("/v1/movies/tt9000001")
    assert answer.status_code in (503, 504)
    found = await eventually(kept, 60, 0.2)
    assert found[0].failed


async def test_each_step_is_counted_and_timed_for_prometheus(mesh: Mesh) -> None:
    await mesh.whole(await mesh.rate(6, traced=True))
    url = f"http://{mesh.stack.address('jaeger', 'spans')}/metrics"
    wanted = [
        'service_name="rating_svc-worker"',
        'span_name="postgresql COMMIT"',
        "traces_span_metrics_duration_seconds_bucket",
    ]

    def counted() -> list[str]:
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if all(each in line for each in wanted)]

    found = await eventually(lambda: asyncio.to_thread(counted), 60, 0.5)
    assert float(found[-1].split()[-1]) >= 1


async def test_the_page_lists_a_trace_and_shows_it_whole(mesh: Mesh, tmp_path: Path) -> None:
    trace_id = await mesh.rate(7, traced=True)
    spans = await mesh.whole(trace_id)
    url = str(mesh.jaeger.base_url).rstrip("/")
    settings = Settings(tmp_path, tmp_path, (), "", "", url, "", tmp_path, "5s")
    async with TestClient(TestServer(Page(settings).app())) as page:
        listed = await (await page.get("/dash/traces.json?since=15m&service=ranking_svc")).json()
        assert {"edge", *(each.service for each in spans)} <= set(listed["services"])
        (row,) = [each for each in listed["traces"] if each["traceId"] == trace_id]
        assert (row["rootServiceName"], row["rootTraceName"]) == ("edge", spans_root(spans))
        assert sum(each["spanCount"] for each in row["serviceStats"].values()) >= len(spans)
        assert row["durationMs"] > 0

        failed = await (await page.get("/dash/traces.json?since=15m&failed=1")).json()
        assert trace_id not in {each["traceId"] for each in failed["traces"]}
        slow = await (await page.get("/dash/traces.json?since=15m&least=900000ms")).json()
        assert slow["traces"] == []

        whole = await (await page.get(f"/dash/traces/{trace_id}.json")).json()
        shown = [
            span
            for resource in whole["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        assert {span["spanId"] for span in shown} >= {span.span_id for span in spans}
        assert "@jaeger@warnings" not in json.dumps(whole)
        answer = await page.get(f"/dash/traces/{secrets.token_hex(16)}.json")
        assert (answer.status, "not sampled" in await answer.text()) == (404, True)


def spans_root(spans: list[Told]) -> str:
    known = {each.span_id for each in spans}
    (root,) = [each for each in spans if each.parent_id not in known]
    return root.name


@pytest.mark.slow
async def test_a_full_store_forgets_the_oldest_and_takes_new_ones_within_its_memory(mesh: Mesh) -> None:
    """Twice what it keeps, each as large as a rating's, all failed, so that all are kept."""
    newest = ""
    async with grpc.aio.insecure_channel(mesh.stack.address("jaeger", "otlp")) as channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        for _ in range(2000):
            trace_id = secrets.token_bytes(16)
            await stub.Export(large(trace_id), timeout=30)  # raises where it is refused
            newest = trace_id.hex()

    async def kept() -> bool:
        return len(await mesh.trace(newest)) == _STEPS

    await eventually(kept, 60, 0.5)
    pid = pid_of(mesh.stack, "jaeger")
    assert usage.measure([pid])[pid].memory_bytes < 256 << 20


def large(trace_id: bytes) -> trace_service_pb2.ExportTraceServiceRequest:
    """A trace with as many and as long spans as that of a rating."""
    attributes = [
        common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=text))
        for key, text in (
            ("db.system.name", "postgresql"),
            ("db.operation.name", "WITH"),
            (
                "db.query.text",
                "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[])) ".ljust(300, "x"),
            ),
            ("server.address", "primary"),
        )
    ]
    began = time.time_ns()
    spans = [
        trace_pb2.Span(
            trace_id=trace_id,
            span_id=secrets.token_bytes(8),
            name=f"step {number}",
            start_time_unix_nano=began,
            end_time_unix_nano=began + 5_000_000,
            attributes=attributes,
            status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR),
        )
        for number in range(_STEPS)
    ]
    resource = resource_pb2.Resource(
        attributes=[common_pb2.KeyValue(key="service.name", value=common_pb2.AnyValue(string_value="filler"))]
    )
    scope = trace_pb2.ScopeSpans(spans=spans)
    return trace_service_pb2.ExportTraceServiceRequest(
        resource_spans=[trace_pb2.ResourceSpans(resource=resource, scope_spans=[scope])]
    )
