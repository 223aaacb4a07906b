"""mTLS of the chassis: who may call, whose word on the user is taken, and rotation."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

from local.stack import authority
from mesh import channel, identity, tls
from mesh.channel import ChannelConfig
from mesh.config import ConfigError
from mesh.server import Server, ServerConfig
from tests.support.errors import Details
from tests.support.ports import free_port
from tests.support.waiting import eventually

CALLS = ChannelConfig(timeout_s=5, attempts=1)


class Totals:
    """Answers with the subject it believes, so that a client can see it."""

    async def StreamTotals(self, request: Any, context: Any) -> AsyncIterator[Any]:
        who = identity.current()
        yield internal_pb2.StreamTotalsResponse(
            totals=[internal_pb2.MovieTotals(movie=who.subject if who else "nobody")]
        )


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    address = f"127.0.0.1:{free_port()}"
    server = Server(
        "rating_svc", ServerConfig(address=address, drain_wait_s=0), authority.issue(folder, "rating_svc")
    )
    service = internal_pb2.DESCRIPTOR.services_by_name["RatingTotalsService"]
    server.add(service, Totals(), callers=["edge", "ranking_svc"])
    running = asyncio.create_task(server.run())

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection(*address.split(":"))
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(listens)
        yield address
    finally:
        server.stop()
        await running


async def believed(channel_: grpc.aio.Channel, subject: str = "mallory") -> str:
    stub = internal_pb2_grpc.RatingTotalsServiceStub(channel_)
    call = stub.StreamTotals(
        internal_pb2.StreamTotalsRequest(),
        metadata=[(identity.SUBJECT_HEADER, subject)],
        timeout=60,
        wait_for_ready=True,
    )
    return (await anext(aiter(call))).totals[0].movie


async def test_identity_headers_count_only_from_the_edge(tmp_path: Path) -> None:
    async with serving(tmp_path) as address:
        seen = {}
        for caller in ("edge", "ranking_svc"):
            certificate = authority.issue(tmp_path, caller)
            async with channel.connect(
                address, CALLS, service="rating_svc", certificate=certificate
            ) as opened:
                seen[caller] = await believed(opened)
    assert seen == {"edge": "mallory", "ranking_svc": "nobody"}


async def test_a_service_that_is_not_a_caller_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as address:
        certificate = authority.issue(tmp_path, "movie_svc")
        async with channel.connect(address, CALLS, service="rating_svc", certificate=certificate) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await believed(opened)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert Details(refused.value).reason == "CALLER_NOT_ALLOWED"


@pytest.mark.parametrize("kind", ["plaintext", "no certificate", "another authority"])
async def test_without_a_certificate_of_ours_nothing_gets_through(tmp_path: Path, kind: str) -> None:
    async with serving(tmp_path / "ours") as address:
        if kind == "plaintext":
            opened = grpc.aio.insecure_channel(address)
        else:
            ca = (tmp_path / "ours" / "ca.pem").read_bytes()
            pair: tuple[bytes | None, bytes | None] = (None, None)
            if kind == "another authority":
                files = tls.Files(authority.issue(tmp_path / "theirs", "edge")).read()
                pair = (files.key, files.certificate)
            opened = grpc.aio.secure_channel(
                address,
                grpc.ssl_channel_credentials(ca, *pair),
                [("grpc.ssl_target_name_override", "rating-svc")],
            )
        async with opened:
            stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [part async for part in stub.StreamTotals(internal_pb2.StreamTotalsRequest(), timeout=60)]
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_notices_the_wrong_service_behind_an_address(tmp_path: Path) -> None:
    async with serving(tmp_path) as address:
        certificate = authority.issue(tmp_path, "edge")
        async with channel.connect(address, CALLS, service="movie_svc", certificate=certificate) as opened:
            stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [part async for part in stub.StreamTotals(internal_pb2.StreamTotalsRequest(), timeout=60)]
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificates_rotate_on_both_sides_without_a_lost_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_LOOK_INTERVAL_S", 0.0)
    async with serving(tmp_path) as address:
        certificate = authority.issue(tmp_path, "edge")
        async with channel.connect(address, CALLS, service="rating_svc", certificate=certificate) as opened:
            assert isinstance(opened, tls.RotatingChannel)
            stub = internal_pb2_grpc.RatingTotalsServiceStub(opened)
            before = opened.current
            answers = 0
            for turn in range(60):
                if turn % 20 == 10:
                    authority.issue(tmp_path, "edge")
                    authority.issue(tmp_path, "rating_svc")
                request = internal_pb2.StreamTotalsRequest()
                answers += len([part async for part in stub.StreamTotals(request, timeout=60)])
            assert opened.current is not before
    assert answers == 60


def test_half_a_certificate_is_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match="set all or none"):
        _ = tls.TlsConfig(certificate="a.pem").enabled


def test_a_pair_that_is_half_replaced_is_not_taken(tmp_path: Path) -> None:
    certificate = authority.issue(tmp_path, "edge")
    files = tls.Files(certificate)
    before = files.read()
    authority.issue(tmp_path / "other", "edge")
    (tmp_path / "other" / "edge.key").replace(tmp_path / "edge.key")
    assert files.read() is before
    authority.issue(tmp_path, "edge")
    assert files.read() is not before


async def test_a_client_that_verifies_strictly_takes_the_certificates(tmp_path: Path) -> None:
    """As Python 3.13 does by itself: RFC 5280 to the letter."""
    async with serving(tmp_path) as address:
        files = authority.issue(tmp_path, "edge")
        context = ssl.create_default_context(cafile=files.authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(files.certificate, files.key)
        context.set_alpn_protocols(["h2"])
        host, port = address.split(":")
        async with channel.connect(address, CALLS, service="rating_svc", certificate=files) as opened:
            assert await believed(opened) == "mallory"
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
