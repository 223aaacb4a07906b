"""Questions to Jaeger: which traces there are, and one of them whole. Nothing else is asked of it."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp

MOST: Final = 100

EDGE: Final = "edge"
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_SINCE: Final = re.compile(r"([0-9]{1,4})([mhd])")
_LEAST: Final = re.compile(r"[0-9]{1,6}ms")
_STATUSES: Final = {1: "STATUS_CODE_OK", 2: "STATUS_CODE_ERROR"}
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400}
# What was not sampled, and failed or was slow: one span of a service, in a trace without the edge's.
_TOLD: Final = '{"marquee.sampled":"false"}'


class NoTracesError(RuntimeError):
    """There is no Jaeger here, or it does not answer; the message says what to do."""


class NoSuchTraceError(LookupError):
    """Jaeger does not have it; the message says what that means."""


class Traces:
    """Jaeger, by its URL; empty if there is none."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def find(self, session: aiohttp.ClientSession, asked: Mapping[str, str]) -> dict[str, Any]:
        """The newest traces that fit, as Perses' table takes them, and the services that have any.

        `asked` may hold `service` (which has a span in it), `least` (a span there took so long) such as
        `100ms`, `failed` (one of its spans did), and `since` such as `15m`.

        Raises:
            ValueError: something that was asked is none of these.
            NoTracesError: there is no Jaeger, or it does not answer.
        """
        question = query(asked, time.time())
        services = sorted((await self._ask(session, "/api/services", {}))["data"] or [])
        wanted = asked.get("service", "")
        answers = await asyncio.gather(
            *(
                self._ask(session, "/api/traces", {**question, **_of(service, alone=bool(wanted))})
                for service in ([wanted] if wanted else services)
            )
        )
        found = {trace["traceID"]: trace for answer in answers for trace in answer["data"] or ()}
        rows = sorted(map(row, found.values()), key=lambda each: -each["startTimeUnixMs"])
        if asked.get("failed"):
            rows = [each for each in rows if any("errorCount" in of for of in each["serviceStats"].values())]
        return {"services": services, "traces": rows[:MOST]}

    async def one(self, session: aiohttp.ClientSession, trace_id: str) -> dict[str, Any]:
        """A whole trace, in OpenTelemetry's own form.

        Raises:
            ValueError: that is no id.
            NoSuchTraceError: Jaeger does not have it.
            NoTracesError: there is no Jaeger, or it does not answer.
        """
        if not _TRACE.fullmatch(trace_id):
            raise ValueError("a trace's id has 32 hexadecimal digits")
        # As it was sent: Jaeger would warn of clocks a millisecond apart at most of the spans.
        answer = await self._ask(session, f"/api/v3/traces/{trace_id}", {"raw_traces": "true"})
        if not answer:
            raise NoSuchTraceError(
                "Jaeger does not have this trace: it was not sampled, not kept, or is too old or too new"
            )
        return with_names(answer["result"])

    async def _ask(self, session: aiohttp.ClientSession, path: str, asked: Mapping[str, str]) -> Any:
        """An answer; nothing for what Jaeger does not have."""
        if not self._url:
            raise NoTracesError("there is no Jaeger here: `marquee up --observability` starts it")
        try:
            async with session.get(f"{self._url}{path}", params=asked) as answer:
                if answer.status == 404:
                    return {}
                if answer.status != 200:
                    raise NoTracesError(f"Jaeger answers HTTP {answer.status}")
                return await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoTracesError(f"Jaeger does not answer ({error}): see `marquee status`") from None


def query(asked: Mapping[str, str], now: float) -> dict[str, str]:
    """The question in Jaeger's own words.

    Raises:
        ValueError: something that was asked can't be.
    """
    since = _SINCE.fullmatch(asked.get("since") or "1h")
    if since is None:
        raise ValueError("since is a time such as 15m, 6h or 7d")
    seconds = int(since[1]) * _SECONDS[since[2]]
    question = {
        "start": str(int((now - seconds) * 1e6)),
        "end": str(int(now * 1e6)),
        "limit": str(MOST),
    }
    if least := asked.get("least", ""):
        if not _LEAST.fullmatch(least):
            raise ValueError("least is a time such as 100ms")
        question["minDuration"] = least
    return question


def row(trace: Mapping[str, Any]) -> dict[str, Any]:
    """What a table shows of a trace: https://github.com/perses/perses, `TraceSearchResult`."""
    spans: list[dict[str, Any]] = trace["spans"]
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    began = min(span["startTime"] for span in spans)
    ended = max(span["startTime"] + span["duration"] for span in spans)
    root = _root(spans)
    stats: dict[str, dict[str, int]] = {}
    for span in spans:
        of = stats.setdefault(services[span["processID"]], {"spanCount": 0})
        of["spanCount"] += 1
        if _failed(span):
            of["errorCount"] = of.get("errorCount", 0) + 1
    return {
        "traceId": trace["traceID"],
        "rootServiceName": services[root["processID"]],
        "rootTraceName": root["operationName"],
        "startTimeUnixMs": began / 1e3,
        "durationMs": (ended - began) / 1e3,
        "serviceStats": stats,
    }


def with_names(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace in OpenTelemetry's JSON, whose statuses have the names that Perses looks for, not numbers."""
    for resource in trace["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                code = span.get("status", {}).get("code")
                if code in _STATUSES:
                    span["status"]["code"] = _STATUSES[code]
    return trace


def _of(service: str, *, alone: bool) -> dict[str, str]:
    """All traces of a service; beside the edge's, only those in which the edge has no span."""
    return {"service": service} if alone or service == EDGE else {"service": service, "tags": _TOLD}


def _root(spans: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first span whose parent is not there."""
    known = {span["spanID"] for span in spans}
    roots = [span for span in spans if not {each["spanID"] for each in _parents(span)} & known]
    first: Mapping[str, Any] = min(roots or spans, key=lambda span: span["startTime"])
    return first


def _parents(span: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        each
        for each in span.get("references") or ()
        if each["refType"] == "CHILD_OF" and each["traceID"] == span["traceID"]
    ]


def _failed(span: Mapping[str, Any]) -> bool:
    return any(tag["key"] == "error" and tag["value"] in (True, "true") for tag in span["tags"])
