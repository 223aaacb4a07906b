"""Envoy's own answers in the form of the API's errors (https://google.aip.dev/193)."""

from collections.abc import Mapping
from typing import Any, Final

from edge import template

_DETAIL: Final = "type.googleapis.com/google.rpc."


def local_reply_config() -> dict[str, Any]:
    """Envoy's `local_reply_config`, from `envoy/errors.yaml`."""
    statuses: Mapping[int, Mapping[str, Any]] = template.load("errors", part="statuses")
    values = {
        "not_ready": _body(503, statuses[503]),
        "compressed": _body(415, {**statuses[415], "reason": "CONTENT_ENCODING_NOT_TAKEN"}),
        "causes": [_cause(said, statuses) for said in template.load("errors", part="causes")],
        "mappers": [_mapper(status, said) for status, said in statuses.items()],
    }
    return {"mappers": template.load("errors", values, part="mappers")}


def _mapper(status: int, said: Mapping[str, Any]) -> dict[str, Any]:
    same = {"op": "EQ", "value": {"default_value": status, "runtime_key": "edge.status"}}
    mapper: dict[str, Any] = {
        "filter": {"status_code_filter": {"comparison": same}},
        "body_format_override": _body(status, said),
    }
    if "retry" in said:
        header = {"key": "retry-after", "value": str(said["retry"])}
        mapper["headers_to_add"] = [{"header": header, "append_action": "ADD_IF_ABSENT"}]
    return mapper


def _cause(said: Mapping[str, Any], statuses: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    filtered = {
        "name": "cel",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": said["if"],
        },
    }
    return {
        "filter": {"extension_filter": filtered},
        "status_code": said["status"],
        "headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in said.get("headers", {}).items()
        ],
        "body_format_override": _body(said["status"], statuses[said["status"]], said["message"]),
    }


def _body(status: int, said: Mapping[str, Any], message: str = "%LOCAL_REPLY_BODY%") -> dict[str, Any]:
    details: list[dict[str, Any]] = [
        {
            "@type": f"{_DETAIL}ErrorInfo",
            "reason": said["reason"],
            "domain": "marquee",
            "metadata": {"cause": "%RESPONSE_CODE_DETAILS%"},
        }
    ]
    if "retry" in said:
        details.append({"@type": f"{_DETAIL}RetryInfo", "retryDelay": f"{said['retry']}s"})
    error = {"code": status, "message": message, "status": said["status"], "details": details}
    return {"json_format": {"error": error}, "content_type": "application/json"}
