"""What `mesh.rpc` adds to a bare handler: `python -m tests.load.mesh.boundary [CALLS]`. It needs valgrind.

In instructions of the server's own, as callgrind counts them: a busy machine changes them by a few per cent
at most. What the kernel does is not in them. The server is a process of its own, behind mTLS, and eight calls
at once come with headers such as the edge sends.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import uvloop
from marquee.ratings.v1 import ratings_pb2

from local.stack import authority
from local.stack.layout import HOST
from mesh import rpc, tls
from mesh.tls import TlsConfig
from tests.support.ports import free_port

Headers: TypeAlias = tuple[tuple[str, str], ...]
Asked: TypeAlias = tuple[bytes, Headers]
"""A request's bytes, and its headers."""

SERVICE = ratings_pb2.DESCRIPTOR.services_by_name["RatingService"]
NAME = "users/me/ratings/tt0111161"
AT_ONCE = 8
HEADERS = (
    ("x-marquee-subject", "load-1"),
    ("x-marquee-scopes", ""),
    ("x-marquee-tier", "partner"),
    ("x-request-id", "8d8f1a0e-4f0b-4c53-9f0e-3f6d0c7f8a11"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ("x-forwarded-proto", "http"),
)
ANSWER = ratings_pb2.Rating(name="users/load-1/ratings/tt0111161", movie="movies/tt0111161", score=7)


async def answer(_request: Any, _context: Any) -> bytes:
    return ANSWER.SerializeToString()


class Ratings:
    """Every method of RatingService."""

    def __getattr__(self, name: str) -> Callable[[Any, Any], Awaitable[bytes]]:
        return answer


def bare() -> grpc.GenericRpcHandler:
    handler = grpc.unary_unary_rpc_method_handler(answer)
    return grpc.method_handlers_generic_handler(SERVICE.full_name, {"GetRating": handler})


HANDLERS: dict[str, Callable[[], grpc.GenericRpcHandler]] = {
    "bare": bare,
    "mesh.rpc": lambda: rpc.handlers(SERVICE, Ratings(), {tls.EDGE}),
}


def files(folder: str, name: str) -> tls.Files:
    return tls.Files(TlsConfig(f"{folder}/{name}.pem", f"{folder}/{name}.key", f"{folder}/ca.pem"))


async def serve(kind: str, port: int, folder: str) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((HANDLERS[kind](),))
    server.add_secure_port(f"{HOST}:{port}", tls.server_credentials(files(folder, "rating_svc")))
    await server.start()
    await server.wait_for_termination()


def users(names: Sequence[str] = ("load-1",) * AT_ONCE) -> list[Asked]:
    """What callers of these names ask for: the same rating, each its own."""
    request = ratings_pb2.GetRatingRequest(name=NAME).SerializeToString()
    return [(request, (("x-marquee-subject", name), *HEADERS[1:])) for name in names]


async def call(
    port: int, folder: str, calls: int, measured: Callable[[], None], asked: Sequence[Asked]
) -> None:
    """As many calls of each that is `asked` at the same time, to warm up; then those that are measured."""
    options = [
        ("grpc.ssl_target_name_override", tls.host_name("rating_svc")),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    credentials = tls.channel_credentials(files(folder, tls.EDGE).read())
    async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials, options=options) as channel:
        ask = channel.unary_unary(f"/{SERVICE.full_name}/GetRating")

        async def user(request: bytes, headers: Headers) -> None:
            for _ in range(calls):
                await ask(request, metadata=headers, timeout=60)

        # It takes valgrind a while to get there.
        request, headers = asked[0]
        await ask(request, metadata=headers, timeout=300, wait_for_ready=True)
        for _ in range(2):
            await asyncio.gather(*(user(*each) for each in asked))
            measured()


def instructions(
    kind: str, calls: int, folder: str, asked: Sequence[Asked], module: str = "tests.load.mesh.boundary"
) -> float:
    """Of one call to a server of that kind, which `module` starts; of each that is asked, so many calls."""
    port, counted = free_port(), f"{folder}/counted"
    server = subprocess.Popen(
        [
            *("valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={counted}"),
            *(sys.executable, "-m", module, kind, str(port), folder),
        ],
        stderr=subprocess.DEVNULL,
    )

    def dump() -> None:
        subprocess.run(["callgrind_control", "--dump", str(server.pid)], check=True, capture_output=True)

    try:
        uvloop.run(call(port, folder, calls, dump, asked))
    finally:
        server.terminate()
        server.wait()
    # A dump has what came since the one before: the second is that of the calls that are measured.
    total = re.search(r"^(?:totals|summary): (\d+)", Path(f"{counted}.2").read_text(errors="replace"), re.M)
    assert total is not None
    return int(total[1]) / (calls * len(asked))


def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in (tls.EDGE, "rating_svc"):
            authority.issue(Path(folder), name)
        for kind in HANDLERS:
            cost = instructions(kind, calls // AT_ONCE, folder, users())
            print(f"{kind:10} {cost:10,.0f} instructions a call")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 240)
