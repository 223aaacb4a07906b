"""Calls that will end one day say so in their answers: RFC 9745 (Deprecation) and RFC 8594 (Sunset)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any, Final

from edge.contract import Method

_MUTATION: Final = (
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
)


def check(methods: Iterable[Method], dates: Mapping[str, Any]) -> None:
    """Checks which RPCs have dates.

    Raises:
        ValueError: others than those that the contract calls deprecated have dates, or one of them has none.
    """
    deprecated = {method.full_name for method in methods if method.deprecated}
    if undated := sorted(deprecated - set(dates)):
        raise ValueError(f"deprecated in the contract, but without dates in envoy/routes.yaml: {undated}")
    if living := sorted(set(dates) - deprecated):
        raise ValueError(f"envoy/routes.yaml has dates for what the contract does not deprecate: {living}")


def per_route(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the filter `answers` adds on the routes of a deprecated RPC."""
    headers = {"deprecation": f"@{int(_midnight(said['since']).timestamp())}"}
    if "sunset" in said:
        headers["sunset"] = format_datetime(_midnight(said["sunset"]), usegmt=True)
    if "link" in said:
        headers["link"] = f'<{said["link"]}>; rel="deprecation"'
    appended = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in headers.items()
    ]
    return {"@type": _MUTATION, "mutations": {"response_mutations": appended}}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
