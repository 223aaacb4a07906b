"""What an attacker would try on the whole mesh: past the edge, through it, at what is meant for operators."""

import asyncio
import socket
import ssl
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc

from edge import contract, tokens
from local.stack import authority, certificates
from local.stack.layout import Stack
from mesh import tls
from mesh.services import SERVICES

PROCESSES = [service.process(role) for service in SERVICES for role in service.roles]
SPOOFED = (
    ("x-marquee-subject", "victim"),
    ("x-marquee-scopes", "marquee.admin"),
    ("x-marquee-tier", "partner"),
)
RATE = ratings_pb2.RateMovieRequest(name="users/me/ratings/tt0111161", score=1)


def override(service: str) -> list[tuple[str, str]]:
    return [("grpc.ssl_target_name_override", tls.host_name(service))]


@pytest.mark.parametrize("process", PROCESSES)
async def test_nobody_reaches_a_process_without_a_certificate_of_ours(
    mesh_stack: Stack, process: str, tmp_path: Path
) -> None:
    address, service = mesh_stack.address(process, "grpc"), process.partition("-")[0]
    ours = tls.Files(certificates.of(mesh_stack.home, service)).read().authority
    stranger = tls.Files(authority.issue(tmp_path, "edge")).read()
    attempts = {
        "plain text": grpc.aio.insecure_channel(address),
        "no certificate": grpc.aio.secure_channel(
            address, grpc.ssl_channel_credentials(ours), override(service)
        ),
        "a stranger's certificate that says `edge`": grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(ours, stranger.key, stranger.certificate),
            override(service),
        ),
    }
    for name, channel in attempts.items():
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE, name


@pytest.mark.parametrize("caller", [service.name for service in SERVICES])
async def test_another_services_word_on_the_user_does_not_count(mesh_stack: Stack, caller: str) -> None:
    files = tls.Files(certificates.of(mesh_stack.home, caller)).read()
    channel = grpc.aio.secure_channel(
        mesh_stack.address("rating_svc", "grpc"), tls.channel_credentials(files), override("rating_svc")
    )
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ratings_pb2_grpc.RatingServiceStub(channel).RateMovie(RATE, metadata=SPOOFED, timeout=5)
    assert raised.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def internal_methods() -> list[str]:
    """Every RPC of ours that is not public, and what gRPC servers offer besides."""
    descriptors: descriptor_pb2.FileDescriptorSet = contract.load()
    public = {method.full_name for method in contract.public_methods(descriptors)}
    ours = [
        f"{file.package}.{service.name}.{method.name}"
        for file in descriptors.file
        for service in file.service
        for method in service.method
        if file.package.startswith("marquee.")
    ]
    found = [f"/{name.rpartition('.')[0]}/{name.rpartition('.')[2]}" for name in ours if name not in public]
    assert len(found) >= 3
    return [
        *found,
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetServers",
    ]


@pytest.mark.parametrize("method", internal_methods())
async def test_internal_rpcs_do_not_exist_at_the_edge_even_for_admins(mesh_stack: Stack, method: str) -> None:
    token = tokens.issue(mesh_stack.home.tokens, "admin", ["marquee.admin"])
    target = mesh_stack.edge_url.removeprefix("http://")
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"", metadata=(("authorization", f"Bearer {token}"), *SPOOFED), timeout=5)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url) as http:
        answer = await http.post(method, headers={"authorization": f"Bearer {token}"}, json={})
        assert answer.status_code == 404


ADMIN_PATHS = [
    "/stats",
    "/stats/prometheus",
    "/config_dump",
    "/clusters",
    "/server_info",
    "/certs",
    "/quitquitquit",
    "/healthcheck/fail",
    "/drain_listeners",
    "/logging",
    "/metrics",
    "/flags.json",
    "/trials.json",
]


@pytest.mark.parametrize("path", ADMIN_PATHS)
async def test_operators_pages_are_not_served_to_the_world(mesh_stack: Stack, path: str) -> None:
    async with httpx.AsyncClient(base_url=mesh_stack.edge_url) as http:
        for verb in ("GET", "POST"):
            assert (await http.request(verb, path)).status_code == 404
        spellings = (f"/v1/..{path}", f"//{path}", f"/v1/movies/..%2f..{path}", f"{path}%00")
        for spelling in spellings:
            assert (await http.get(spelling)).status_code in (400, 404)
        assert (await http.get("/healthz")).status_code == 200


async def test_all_listens_on_the_loopback_alone(mesh_stack: Stack) -> None:
    others = [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    ]
    for name, port in mesh_stack.ports.items():
        for address in others:
            with socket.socket() as probe:
                probe.settimeout(2)
                assert probe.connect_ex((address, port)) != 0, f"{name} listens on {address}"


async def test_a_service_speaks_tls_1_2_or_newer_and_shows_its_name(mesh_stack: Stack) -> None:
    address = mesh_stack.address("rating_svc", "grpc")
    host, _, port = address.partition(":")
    files = certificates.of(mesh_stack.home, "movie_svc")
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])

    def connect() -> str:
        with (
            socket.create_connection((host, int(port)), 5) as raw,
            context.wrap_socket(raw, server_hostname="rating-svc") as secure,
        ):
            return str(secure.version())

    assert await asyncio.to_thread(connect) in ("TLSv1.2", "TLSv1.3")


async def test_reflection_is_for_operators(mesh_stack: Stack) -> None:
    files = tls.Files(certificates.of(mesh_stack.home, tls.OPERATOR)).read()
    channel = grpc.aio.secure_channel(
        mesh_stack.address("rating_svc", "grpc"), tls.channel_credentials(files), override("rating_svc")
    )
    async with channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        async for answer in call:
            names = {each.name for each in answer.list_services_response.service}
            assert "marquee.ratings.v1.RatingService" in names
