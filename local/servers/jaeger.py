"""Jaeger beside the mesh: the collector of spans, configured as in a cluster (`k8s/observability`)."""

import os
from pathlib import Path
from typing import IO, Final

from local.servers import probes
from local.stack.child import run_tool
from local.stack.layout import HOST, Stack, StackError, cache_folder, checkout

JAEGER: Final = "jaeger"
PORTS: Final = ("otlp", "http", "grpc", "health", "metrics", "spans")
BUILD: Final = checkout() / "scripts" / "jaeger.sh"
"""Builds it, unless that has been done."""
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"

# Of the calls to a mesh on one machine: enough to see something, and not all that a load test makes.
_RATIO: Final = "0.1"
_CONFIG: Final = checkout() / "k8s" / "observability" / "jaeger.yaml"
_MODULE: Final = checkout() / "scripts" / "jaeger" / "go.mod"


def program() -> Path:
    """Where it is, or will be."""
    version = next(
        line.split()[1]
        for line in _MODULE.read_text().splitlines()
        if line.startswith("\tgithub.com/jaegertracing/jaeger ")
    )
    return cache_folder() / f"jaeger-{version}"


def command(_stack: Stack, _name: str) -> list[str]:
    return [str(program()), "--config", str(_CONFIG)]


def environment(stack: Stack, name: str) -> dict[str, str]:
    """Where it listens. Go gives memory back in time to stay below the limit where it can."""
    ports = {f"JAEGER_{purpose.upper()}_PORT": str(stack.port(name, purpose)) for purpose in PORTS}
    return {
        **ports,
        "JAEGER_HOST": HOST,
        "JAEGER_DECISION_WAIT": os.environ.get("JAEGER_DECISION_WAIT") or "5s",
        "GOMEMLIMIT": "224MiB",
    }


async def prepare(_stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Builds it, where that has not been done."""
    if not program().exists() and await run_tool([str(BUILD)], log):
        raise StackError("Jaeger could not be built: see its log, or start without --observability")


async def ready(stack: Stack, name: str) -> None:
    """It takes spans in, and answers."""
    await probes.http(stack.port(name, "health"), "/status")


def senders(stack: Stack) -> dict[str, str]:
    """What the edge and the services are told: where spans go, and how many."""
    if f"{JAEGER}/otlp" not in stack.ports:
        return {}
    return {
        ENDPOINT: f"http://{stack.address(JAEGER, 'otlp')}",
        "MARQUEE_TRACE_RATIO": os.environ.get("MARQUEE_TRACE_RATIO") or _RATIO,
    }
