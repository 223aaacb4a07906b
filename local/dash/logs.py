"""Questions to the index of logs: by trace, service, level and words. Nothing else is asked of it."""

import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

MOST: Final = 500

_LEVELS: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_SINCE: Final = re.compile(r"[0-9]{1,4}[mhd]")


class NoIndexError(RuntimeError):
    """There is no index here, or it does not answer; the message says what to do."""


class Logs:
    """The index, by its URL; empty if there is none."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def find(self, session: aiohttp.ClientSession, asked: Mapping[str, str]) -> dict[str, Any]:
        """The newest lines that fit, newest first, and how many there are.

        `asked` may hold `trace` (an id), `service`, `level` (this one and graver), `words` (all of them in
        the message, or a request's id), and `since` such as `15m`.

        Raises:
            ValueError: something that was asked is none of these.
            NoIndexError: there is no index, or it does not answer.
        """
        question = query(asked)
        if not self._url:
            raise NoIndexError("there is no index of logs here: use `marquee logs`")
        try:
            url = f"{self._url}/_search?ignore_unavailable=true"
            async with session.post(url, json=question) as answer:
                body = await answer.json()
                if answer.status != 200:
                    raise NoIndexError(f"the index answers HTTP {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoIndexError(f"the index does not answer ({error}): see `marquee status`") from None
        hits = body["hits"]
        return {"total": hits["total"]["value"], "lines": [line(hit["_source"]) for hit in hits["hits"]]}


def query(asked: Mapping[str, str]) -> dict[str, Any]:
    """The question in the index's own words.

    Raises:
        ValueError: something that was asked can't be.
    """
    must: list[dict[str, Any]] = []
    if trace := asked.get("trace", "").strip().lower():
        if not _TRACE.fullmatch(trace):
            raise ValueError("a trace's id has 32 hexadecimal digits")
        must.append({"term": {"trace.id": trace}})
    if service := asked.get("service", ""):
        must.append({"term": {"service.name": service}})
    if level := asked.get("level", ""):
        if level not in _LEVELS:
            raise ValueError(f"a level is one of {', '.join(_LEVELS)}")
        graver = [name for name, rank in _LEVELS.items() if rank >= _LEVELS[level]]
        must.append({"terms": {"log.level": graver}})
    if words := asked.get("words", "").strip():
        fits = {"message": {"query": words, "operator": "and"}}
        must.append({"bool": {"should": [{"match": fits}, {"term": {"http.request.id": words}}]}})
    if since := asked.get("since", ""):
        if not _SINCE.fullmatch(since):
            raise ValueError("since is a time such as 15m, 6h or 7d")
        must.append({"range": {"@timestamp": {"gte": f"now-{since}"}}})
    return {
        "size": MOST,
        "track_total_hits": True,
        "sort": [{"@timestamp": "desc"}],
        "query": {"bool": {"filter": must}},
    }


def line(source: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a line: its fields by their full names."""
    flat = dict(_flat(source))
    return {
        "time": flat.get("@timestamp", ""),
        "level": flat.get("log.level", ""),
        "service": flat.get("service.name", ""),
        "message": flat.get("message", ""),
        "trace": flat.get("trace.id") or "",
        "fields": {name: value for name, value in flat.items() if value is not None},
    }


def _flat(source: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in source.items():
        full = f"{prefix}{name}"
        found += _flat(value, f"{full}.") if isinstance(value, Mapping) else [(full, value)]
    return found
