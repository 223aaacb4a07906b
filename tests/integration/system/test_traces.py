"""One trace from the HTTP call to the chart: edge, services, stores and Kafka on a real mesh."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from edge import tokens
from local.stack.layout import Home, Stack
from mesh.services import SERVICES
from tests.support import stacks
from tests.support.parts import hung, pid_of
from tests.support.rating_trace import CHANGED, LAST, SUBMITTED, assert_whole
from tests.support.traces import Collector, Told, collecting, path_to, tree
from tests.support.waiting import eventually

MOVIE = "tt0111161"
MINE = f"/v1/users/me/ratings/{MOVIE}"


class Mesh(NamedTuple):
    stack: Stack
    collector: Collector
    http: httpx.AsyncClient

    def user(self) -> dict[str, str]:
        """The headers of somebody new, whose calls an operator has traced."""
        token = tokens.issue(self.stack.home.tokens, f"user-{uuid.uuid4()}")
        key = (self.stack.home.envoy / "trace-key").read_text()
        theirs = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        return {"authorization": f"Bearer {token}", "marquee-trace": key, "traceparent": theirs}

    async def trace(self, request_id: str, service: str, name: str) -> list[Told]:
        """The spans of the trace that the request began, once it has come to that span."""

        def there() -> list[Told]:
            first = next((s for s in self.collector.spans if request_id in s.attributes.values()), None)
            found = self.collector.of(first.trace_id) if first else []
            whole = path_to(found, service, name)
            return found if whole and whole[0].startswith("edge: ") else []

        try:
            return await eventually(there, 60, 0.1)
        except AssertionError:
            lines = "\n".join(line for root in tree(self.collector.spans) for line in root.lines())
            raise AssertionError(f"no whole trace of {request_id} to {service}: {name} in\n{lines}") from None


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "MARQUEE_TRACE_RATIO": "0"}
        home = Home(Path(tmp_path_factory.mktemp("traced")))
        async with (
            stacks.started(home, [], environment) as stack,
            httpx.AsyncClient(base_url=f"http://{stack.address('envoy', 'edge')}", timeout=15) as client,
        ):
            yield Mesh(stack, collector, client)


async def test_a_rating_is_one_trace_from_the_call_to_the_chart(mesh: Mesh) -> None:
    answer = await mesh.http.put(MINE, json={"score": 9}, headers=mesh.user())
    assert answer.status_code == 200, answer.text
    assert_whole(await mesh.trace(answer.headers["x-request-id"], *LAST))


async def test_an_outsiders_call_is_not_sampled_anywhere(mesh: Mesh) -> None:
    theirs = "0af7651916cd43dd8448eb211c80319c"
    headers = {**mesh.user(), "traceparent": f"00-{theirs}-b7ad6b7169203331-01"}
    del headers["marquee-trace"]
    quiet = await mesh.http.put(MINE, json={"score": 3}, headers=headers)
    assert quiet.status_code == 200
    # What came later and was sampled has arrived whole: so would have this.
    loud = await mesh.http.put(MINE, json={"score": 4}, headers=mesh.user())
    await mesh.trace(loud.headers["x-request-id"], *LAST)
    assert not mesh.collector.of(theirs)
    assert not [s for s in mesh.collector.spans if quiet.headers["x-request-id"] in s.attributes.values()]


async def test_ratings_of_one_batch_keep_their_traces_and_link_it(mesh: Mesh) -> None:
    users = [mesh.user() for _ in range(12)]
    # The worker stands still meanwhile: then it finds them together.
    with hung(pid_of(mesh.stack, "rating_svc-worker")):
        answers = await asyncio.gather(
            *(mesh.http.put(MINE, json={"score": 7}, headers=headers) for headers in users)
        )
    traces = [
        await mesh.trace(answer.headers["x-request-id"], "ranking_svc-consumer", f"process {CHANGED}")
        for answer in answers
    ]
    batches = [
        span
        for spans in traces
        for span in spans
        if span.service == "rating_svc-worker" and span.name == f"process {SUBMITTED}"
    ]
    assert len(batches) == len(users)
    shared = [span for span in batches if span.attributes["messaging.batch.message_count"] > 1]
    assert shared, "no two of twelve came into one batch"
    assert all(span.links for span in shared)


async def test_a_call_that_fails_is_told_of_though_it_was_not_sampled(mesh: Mesh) -> None:
    def told() -> list[Told]:
        return [s for s in mesh.collector.spans if s.attributes.get("marquee.sampled") is False]

    assert not [s for s in told() if s.name.endswith("/GetMovie")]
    with hung(pid_of(mesh.stack, "omdb")):
        answer = await mesh.http.get("/v1/movies/tt9000001")
        assert answer.status_code in (503, 504)
        (span, *_) = await eventually(lambda: [s for s in told() if s.name.endswith("/GetMovie")])
    assert (span.service, span.kind, span.failed) == ("movie_svc", "SERVER", True)
    assert span.parent_id
    assert span.seconds > 0.1


async def test_each_process_has_one_name(mesh: Mesh) -> None:
    # rating_svc asks movie_svc only once for a movie: maybe before, and not sampled.
    asked = await mesh.http.get(f"/v1/movies:batchGet?names=movies/{MOVIE}", headers=mesh.user())
    assert asked.status_code == 200
    answer = await mesh.http.put(MINE, json={"score": 8}, headers=mesh.user())
    await mesh.trace(answer.headers["x-request-id"], *LAST)
    every = {"edge"} | {service.process(role) for service in SERVICES for role in service.roles}

    def named() -> set[str]:
        return {resource["service.name"] for resource in mesh.collector.resources}

    await eventually(lambda: named() >= every, what="spans of each: they come by the batch")
    assert named() == every
    assert {resource["service.namespace"] for resource in mesh.collector.resources} == {"marquee"}
