"""Traces at the edge: which calls are sampled, and where Envoy's spans go.

A client's `traceparent` is no command: whoever could have a call sampled could have all of them. It becomes
a link. It counts only where an operator's key is with it, in the header `marquee-trace`; the key is in a file
that only the edge's user reads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge import template
from mesh.config import setting

KEY: Final = "trace-key"
"""The file of the operators' key, beside Envoy's other files."""
HEADER: Final = "marquee-trace"
"""What an operator sends the key in."""
CLUSTER: Final = "traces"
"""Envoy's name of whoever takes its spans (envoy/tracing.yaml)."""

_PORT: Final = 4317


@dataclass(frozen=True)
class EdgeTraceConfig:
    """What the edge samples."""

    endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "the OTLP/gRPC collector, such as http://jaeger:4317; empty writes no spans",
    )
    ratio: float = setting(
        "MARQUEE_TRACE_RATIO",
        0.01,
        "the share of calls that the edge samples, from 0 to 1; what a call costs more stands in "
        "docs/operations/tracing.md. Operators may have any call sampled",
        low=0,
        high=1,
    )


def connection_manager(config: EdgeTraceConfig) -> Any:
    """How the edge's listener traces."""
    millionths = round(config.ratio * 1e6) if config.endpoint else 0
    return template.load("tracing", {"millionths": millionths}, part="connection_manager")


def early_mutations(config: EdgeTraceConfig, key_file: Path) -> Any:
    """What is done with a call's headers before it is decided whether it is sampled.

    Raises:
        ValueError: the key can't stand in Envoy's configuration.
    """
    operator = parent = ""
    if config.endpoint:
        key = key_file.read_text().strip()
        if not key.isalnum():
            raise ValueError(f"{key_file} must hold letters and digits, and nothing else")
        operator = f"%CEL(request.headers['{HEADER}'] == '{key}' ? 'operator' : '')%"
        parent = (
            "%CEL(request.headers['x-marquee-sampled'] == 'operator' ? request.headers['traceparent'] : '')%"
        )
    return template.load("tracing", {"operator": operator, "parent": parent}, part="early")


def cluster(config: EdgeTraceConfig) -> Any:
    """Where the collector is; nowhere, if there is none.

    Raises:
        ValueError: the address is none.
    """
    if not config.endpoint:
        return template.load("tracing", {"endpoints": []}, part="cluster")
    parts = urlsplit(config.endpoint)
    try:
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, _PORT
    if parts.scheme != "http" or not host:
        raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT {config.endpoint!r} is not http://HOST:PORT")
    endpoints = template.load("tracing", {"host": host, "port": port}, part="endpoints")
    return template.load("tracing", {"endpoints": endpoints}, part="cluster")
