"""A real OIDC provider instead of the development issuer: its keys from a URL, as they change."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edge import issuer
from edge.issuer import IssuerConfig
from local.stack import authority
from mesh.config import load
from tests.support.edge.mesh import Edge, running_edge
from tests.support.ports import free_port
from tests.support.waiting import eventually

RATING = "/v1/users/me/ratings/tt0111161"
ISSUER = "https://login.example/realms/movies"
AUDIENCE = "marquee-api"


class Provider:
    """The part of an OIDC provider that the edge meets: it publishes keys and signs tokens."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.keys: dict[str, Any] = {}
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/keys"
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, ssl=self._tls)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        # From Python 3.12 on, the next line waits for them: the edge keeps its connections open.
        for client in self._clients:
            client.close()
        await self._server.wait_closed()

    def add(self, kid: str, key: Any) -> None:
        self.keys[kid] = key

    def token(self, kid: str, key: Any = None, **changes: Any) -> dict[str, str]:
        key = key or self.keys[kid]
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "ann",
            "aud": AUDIENCE,
            "exp": now + 600,
            "scope": "admin openid",
        }
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        signed = jwt.encode({**claims, **changes}, key, algorithm=algorithm, headers={"kid": kid})
        return {"authorization": f"Bearer {signed}"}

    def _jwks(self) -> bytes:
        published = []
        for kid, key in self.keys.items():
            algorithms: Any = jwt.algorithms
            kind = algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else algorithms.ECAlgorithm
            published.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
        return json.dumps({"keys": published}).encode()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                body = self._jwks()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        self._clients.discard(writer)
        writer.close()


@pytest.fixture(params=["http", "https"])
async def provider(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Provider]:
    tls = None
    if request.param == "https":
        files = authority.issue(tmp_path, "login")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(files.certificate, files.key)
    made = Provider(tls)
    made.add("first", rsa.generate_private_key(65537, 2048))
    made.add("second", ec.generate_private_key(ec.SECP256R1()))
    await made.start()
    yield made
    with contextlib.suppress(Exception):
        await made.stop()


@pytest.fixture
async def edge(provider: Provider, tmp_path: Path) -> AsyncIterator[Edge]:
    # As `edge.render` reads it from the environment.
    config = load(
        IssuerConfig,
        {
            "MARQUEE_OIDC_JWKS_URL": provider.url,
            "MARQUEE_OIDC_ISSUER": ISSUER,
            "MARQUEE_OIDC_AUDIENCE": AUDIENCE,
            "MARQUEE_OIDC_CA": str(tmp_path / "ca.pem"),
            "MARQUEE_OIDC_REFRESH_S": "1",
        },
    )
    async with running_edge(issuer=config) as edge:
        yield edge


async def status(edge: Edge, headers: dict[str, str]) -> int:
    answer = await edge.http.get(RATING, headers=headers)
    print(answer.status_code, answer.text)
    return answer.status_code


async def test_tokens_of_a_provider_are_taken_as_its_keys_change(edge: Edge, provider: Provider) -> None:
    for kid in ("first", "second"):
        assert await status(edge, provider.token(kid)) == 200
    call = edge.service.calls[-1]
    assert call.values("x-marquee-subject") == ["ann"]
    assert call.values("x-marquee-scopes") == ["admin openid"]
    assert await status(edge, edge.bearer("ann")) in (401, 403), "another issuer's"
    for wrong in ({"iss": "https://evil.example"}, {"aud": "other"}, {"exp": int(time.time()) - 60}):
        assert await status(edge, provider.token("first", **wrong)) in (401, 403)
    stranger = rsa.generate_private_key(65537, 2048)
    assert await status(edge, provider.token("first", stranger)) == 401

    # A new key is known within MARQUEE_OIDC_REFRESH_S, and one that is withdrawn is not.
    provider.add("third", ec.generate_private_key(ec.SECP256R1()))

    async def known() -> bool:
        return await status(edge, provider.token("third")) == 200

    await eventually(known, what="the new key")
    withdrawn = provider.keys.pop("first")

    async def unknown() -> bool:
        return await status(edge, provider.token("first", withdrawn, sub=f"eve{time.time()}")) == 401

    await eventually(unknown, what="the end of the withdrawn key")

    # While the provider is away, the keys of last time go on.
    await provider.stop()
    await asyncio.sleep(2.5)
    assert await status(edge, provider.token("third", sub="bob")) == 200
    assert await status(edge, provider.token("second")) == 200


def test_a_scheme_that_is_no_url_of_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="give http:// or https://"):
        issuer.jwt_filter(IssuerConfig(jwks_url="file:///keys"), None)
    with pytest.raises(ValueError, match="give a file or a URL"):
        issuer.jwt_filter(IssuerConfig(), None)
