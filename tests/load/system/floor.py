"""The floor: a bare gRPC server of ready bytes behind a bare Envoy that makes JSON of them, over mTLS too.

`python -m tests.load.system.floor PORT BYTES_FILE CERTIFICATE KEY AUTHORITY` is the server. What
`tests.load.system.bench` measures beside it is what Marquee adds: everything the two do, any mesh of these
parts has to do.
"""

import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
import yaml

from edge import contract, publish
from local.stack import certificates
from local.stack.layout import HOST, Stack
from mesh import tls
from mesh.tls import TlsConfig

SERVICE = "marquee.movies.v1.MovieService"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


async def serve(port: int, answer: bytes, files: tls.Files) -> None:
    async def get_movie(_request: Any, _context: Any) -> bytes:
        return answer

    handler = grpc.unary_unary_rpc_method_handler(get_movie)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"GetMovie": handler}),))
    server.add_secure_port(f"{HOST}:{port}", tls.server_credentials(files))
    await server.start()
    await server.wait_for_termination()


def server_command(stack: Stack, port: int, answer: Path) -> list[str]:
    of = certificates.of(stack.home, "movie_svc")
    files = [of.certificate, of.key, of.authority]
    return [sys.executable, "-m", "tests.load.system.floor", str(port), str(answer), *files]


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
    """All requests go to the one service, JSON made of its answers."""
    http = f"{_EXTENSIONS}.filters.http"
    host = {
        "name": "floor",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "floor"}}],
    }
    transcoder = {
        "@type": f"{http}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(descriptors),
        "services": [SERVICE],
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
    """The service: HTTP/2 over TLS 1.3, both with certificates."""
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
    port, path, certificate, key, authority = sys.argv[1:]
    uvloop.run(serve(int(port), Path(path).read_bytes(), tls.Files(TlsConfig(certificate, key, authority))))
