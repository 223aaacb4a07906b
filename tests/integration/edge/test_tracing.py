"""The edge alone decides which calls are sampled, and its spans tell nobody's secrets."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest

from edge.tracing import EdgeTraceConfig
from tests.support.edge.mesh import Edge, running_edge
from tests.support.traces import Collector, Told, collecting
from tests.support.waiting import eventually

THEIRS = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{THEIRS}-b7ad6b7169203331-01"


class Traced(NamedTuple):
    edge: Edge
    collector: Collector

    @property
    def key(self) -> str:
        return (self.edge.folder / "envoy" / "trace-key").read_text()

    async def spans(self, trace_id: str, most: int = 2) -> list[Told]:
        return await eventually(lambda: (found := self.collector.of(trace_id))[most - 1 :] and found)


@pytest.fixture(scope="module")
async def never() -> AsyncIterator[Traced]:
    """An edge that samples nothing by chance."""
    async with (
        collecting() as collector,
        running_edge(traces=EdgeTraceConfig(collector.endpoint, 0.0)) as edge,
    ):
        yield Traced(edge, collector)


@pytest.fixture(scope="module")
async def always() -> AsyncIterator[Traced]:
    """An edge that samples everything."""
    async with (
        collecting() as collector,
        running_edge(traces=EdgeTraceConfig(collector.endpoint, 1.0)) as edge,
    ):
        yield Traced(edge, collector)


def parts(edge: Edge) -> tuple[str, str, str]:
    """Trace id, span id and flags that the service was given last."""
    (header,) = edge.service.calls[-1].values("traceparent")
    version, trace_id, span_id, flags = str(header).split("-")
    assert version == "00"
    return trace_id, span_id, flags


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": SAMPLED},
        {"traceparent": SAMPLED, "tracestate": "marquee=1"},
        {"traceparent": "00-00000000000000000000000000000001-b7ad6b7169203331-01"},
        {"x-client-trace-id": "1"},
        {"x-envoy-force-trace": "true"},
        # What Envoy itself takes for the mark of a sampled request in its ids.
        {"x-request-id": "a1b2c3d4-0000-9000-8000-000000000000"},
        {"x-request-id": "00000000-0000-a000-8000-000000000000"},
        {"x-b3-sampled": "1", "x-b3-traceid": THEIRS, "x-b3-spanid": "b7ad6b7169203331"},
        {"b3": f"{THEIRS}-b7ad6b7169203331-1"},
        {"marquee-trace": "operator"},
        {"marquee-trace": ""},
    ],
    ids=lambda headers: " ".join(headers),
)
@pytest.mark.parametrize("path", ["/v1/movies/tt0111161", "/v1/users/me/ratings/tt0111161"])
async def test_no_outsider_has_a_call_sampled(never: Traced, headers: dict[str, str], path: str) -> None:
    answer = await never.edge.http.get(path, headers={**headers, **never.edge.bearer()})
    assert answer.status_code == 200
    trace_id, _, flags = parts(never.edge)
    assert flags == "00"
    assert trace_id != THEIRS
    given = {name for name, _ in never.edge.service.calls[-1].metadata}
    assert not given & {"x-client-trace-id", "x-marquee-sampled", "x-marquee-parent", "marquee-trace"}
    if "x-request-id" in headers:
        assert answer.headers["x-request-id"] == headers["x-request-id"]


async def test_with_an_operators_key_a_call_is_part_of_the_operators_trace(never: Traced) -> None:
    headers = {"marquee-trace": never.key, "traceparent": SAMPLED}
    await never.edge.http.get("/v1/movies/tt0111161", headers=headers)
    trace_id, span_id, flags = parts(never.edge)
    assert (trace_id, flags) == (THEIRS, "01")
    spans = await never.spans(THEIRS)
    assert span_id in {span.span_id for span in spans}
    (first,) = [span for span in spans if span.parent_id == "b7ad6b7169203331"]
    assert first.attributes["marquee.sampled_by"] == "operator"
    assert never.key not in str(never.edge.service.calls[-1].metadata)
    assert never.key not in str([span.attributes for span in spans])
    assert never.key not in (never.edge.folder / "access.log").read_text()


@pytest.mark.parametrize("change", [str.upper, lambda key: key + "x", lambda key: key[:-1], lambda _: ""])
async def test_what_is_not_quite_the_operators_key_is_none(
    never: Traced, change: Callable[[str], str]
) -> None:
    headers = {"marquee-trace": change(never.key), "traceparent": SAMPLED}
    await never.edge.http.get("/v1/movies/tt0111161", headers=headers)
    trace_id, _, flags = parts(never.edge)
    assert (trace_id == THEIRS, flags) == (False, "00")


async def test_a_clients_trace_is_linked_and_not_joined(always: Traced) -> None:
    await always.edge.http.get("/v1/movies/tt0111161", headers={"traceparent": SAMPLED})
    trace_id, _, flags = parts(always.edge)
    assert (trace_id == THEIRS, flags) == (False, "01")
    assert always.edge.service.calls[-1].values("x-marquee-linked-trace") == [SAMPLED]
    spans = await always.spans(trace_id)
    first = next(span for span in spans if not span.parent_id)
    assert first.attributes["marquee.linked_trace"] == SAMPLED
    assert not always.collector.of(THEIRS)


async def test_spans_name_routes_and_neither_queries_nor_addresses(always: Traced) -> None:
    secret = "s3cr3t"
    await always.edge.http.get(f"/v1/movies:search?query={secret}")
    spans = await always.spans(parts(always.edge)[0])
    assert {span.service for span in spans} == {"edge"}
    first = next(span for span in spans if not span.parent_id)
    assert first.name == "GET /v1/movies:search"
    told = str([span.attributes for span in spans])
    assert secret not in told
    assert str(first.attributes["peer.address"]) == "-"
    assert always.collector.resources[-1]["service.namespace"] == "marquee"


async def test_a_call_that_the_edge_refuses_is_told_of_too(always: Traced) -> None:
    before = len(always.collector.spans)
    token = always.edge.token()
    answer = await always.edge.http.get(f"/v1/nothing/{token}", params={"access_token": token})
    assert answer.status_code == 400

    def refused() -> list[Told]:
        return [
            span
            for span in always.collector.spans[before:]
            if span.attributes.get("http.status_code") == "400"
        ]

    (span, *_) = await eventually(refused)
    assert token not in str(span)


async def test_without_a_collector_calls_have_ids_and_none_is_sampled() -> None:
    async with running_edge() as edge:
        await edge.http.get("/v1/movies/tt0111161", headers={"traceparent": SAMPLED, "marquee-trace": "x"})
        trace_id, _, flags = parts(edge)
        assert (trace_id == THEIRS, flags) == (False, "00")
        assert not (edge.folder / "envoy" / "trace-key").exists()
