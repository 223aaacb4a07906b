"""The floor: a bare gRPC server of ready bytes behind a bare Envoy that makes JSON of them, over mTLS too.

`python -m tests.load.system.floor PORT FOLDER CERTIFICATE KEY AUTHORITY` is the server: it answers the
method of each file's name, `marquee.movies.v1.MovieService.GetMovie`, with the file's bytes. What
`tests.load.system.bench` measures beside it is what Marquee adds: everything the two do, any mesh of these
parts has to do.
"""

import contextlib
import sys
import tempfile
from asyncio import create_subprocess_exec
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import uvloop
import yaml
from marquee.movies.v1 import movies_pb2
from marquee.rankings.v1 import rankings_pb2
from marquee.ratings.v1 import ratings_pb2

from edge import contract, publish
from local.commands.http1 import Client
from local.stack import certificates
from local.stack.layout import HOST, Stack
from mesh import tls
from mesh.tls import TlsConfig
from tests.support.ports import free_port
from tests.support.waiting import eventually

PROCESSES = ("floor: envoy", "floor: python")
SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (movies_pb2, "MovieService"),
        (ratings_pb2, "RatingService"),
        (rankings_pb2, "RankingService"),
    )
)
ASKED_FIRST = f"{SERVICES[0]}.GetMovie"
"""The method by which it is seen that the floor answers."""
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


@contextlib.asynccontextmanager
async def running(
    stack: Stack, answers: Mapping[str, bytes]
) -> AsyncIterator[tuple[Client, dict[str, list[int]]]]:
    """Starts the floor, which answers these methods; yields a client of it, and its processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port, upstream = free_port(), free_port()
        ready = folder / "answers"
        ready.mkdir()
        for method, answer in answers.items():
            (ready / method).write_bytes(answer)
        commands = [envoy_command(stack, folder, port, upstream), server_command(stack, upstream, ready)]
        processes = [await create_subprocess_exec(*command) for command in commands]
        client = Client(HOST, port)
        try:

            async def answering() -> bool:
                with contextlib.suppress(ConnectionError):
                    return (await client.request("GET", "/v1/movies/tt0000001")).status == 200
                return False

            await eventually(answering, what="the floor's first answer")
            yield client, dict(zip(PROCESSES, ([process.pid] for process in processes), strict=True))
        finally:
            client.close()
            for process in processes:
                process.terminate()
            for process in processes:
                await process.wait()


async def serve(port: int, answers: Mapping[str, bytes], files: tls.Files) -> None:
    services: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
    for name, answer in answers.items():
        service, _, method = name.rpartition(".")
        services[service][method] = grpc.unary_unary_rpc_method_handler(_ready(answer))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())
    )
    server.add_secure_port(f"{HOST}:{port}", tls.server_credentials(files))
    await server.start()
    await server.wait_for_termination()


def _ready(answer: bytes) -> Any:
    async def handler(_request: Any, _context: Any) -> bytes:
        return answer

    return handler


def server_command(stack: Stack, port: int, answers: Path) -> list[str]:
    of = certificates.of(stack.home, "movie_svc")
    files = [of.certificate, of.key, of.authority]
    return [sys.executable, "-m", "tests.load.system.floor", str(port), str(answers), *files]


def envoy_command(stack: Stack, folder: Path, port: int, upstream: int) -> list[str]:
    """Writes the bare Envoy's configuration into the folder."""
    descriptors = folder / "descriptors.binpb"
    contract.write_for_transcoder(contract.load(), descriptors)
    listener = {
        "name": "floor",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _manager(descriptors)}]}],
    }
    cluster = _cluster(certificates.of(stack.home, tls.EDGE), upstream)
    path = folder / "floor.yaml"
    path.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return [str(publish.binary()), "--config-path", str(path), *options]


def _manager(descriptors: Path) -> dict[str, Any]:
    """All requests go to the one server, JSON made of its answers."""
    http = f"{_EXTENSIONS}.filters.http"
    host = {
        "name": "floor",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "floor"}}],
    }
    transcoder = {
        "@type": f"{http}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(descriptors),
        "services": list(SERVICES),
        "print_options": {"always_print_primitive_fields": True},
    }
    return {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "floor",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": {"@type": f"{http}.router.v3.Router"}},
        ],
    }


def _cluster(files: TlsConfig, upstream: int) -> dict[str, Any]:
    """The server: HTTP/2 over TLS 1.3, both with certificates."""
    context = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [
                {"certificate_chain": {"filename": files.certificate}, "private_key": {"filename": files.key}}
            ],
            "validation_context": {"trusted_ca": {"filename": files.authority}},
        },
    }
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": f"type.googleapis.com/{protocol}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "floor",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "transport_socket": {"name": "tls", "typed_config": context},
        "load_assignment": {
            "cluster_name": "floor",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


if __name__ == "__main__":
    port, folder, certificate, key, authority = sys.argv[1:]
    answers = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    uvloop.run(serve(int(port), answers, tls.Files(TlsConfig(certificate, key, authority))))
