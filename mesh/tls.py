"""mTLS between Envoy and the services, and between the services.

Each process has a certificate that names it by a URI like SPIFFE's
(https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md):
`spiffe://marquee/movie_svc`, `spiffe://marquee/edge`. Files are read again when
they change: a rotation needs no restart and breaks no connection, since TLS
looks at a certificate only while a connection is made.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mesh.config import ConfigError, setting

log = logging.getLogger(__name__)

TRUST_DOMAIN: Final = "spiffe://marquee/"
_SAN: Final = "x509_subject_alternative_name"
EDGE: Final = "edge"
OPERATOR: Final = "operator"
# Who is believed about the user: the edge has verified a token, operators have a certificate of ours.
VOUCHERS: Final = frozenset({EDGE, OPERATOR})

_LOOK_INTERVAL_S: Final = 1.0
_OLD_CHANNEL_GRACE_S: Final = 30.0


@dataclass(frozen=True)
class TlsConfig:
    """This process's certificate. All three, or none: then everything is in plain text."""

    certificate: str = setting("MARQUEE_TLS_CERT", "", "the PEM file of this process's certificate chain")
    key: str = setting("MARQUEE_TLS_KEY", "", "the PEM file of its private key")
    authority: str = setting(
        "MARQUEE_TLS_CA", "", "the PEM file of the authorities that others are verified by"
    )

    @property
    def enabled(self) -> bool:
        """Whether there is a certificate.

        Raises:
            ConfigError: some of the three are given and others are not.
        """
        given = [bool(self.certificate), bool(self.key), bool(self.authority)]
        if any(given) and not all(given):
            raise ConfigError(
                "MARQUEE_TLS_CERT, MARQUEE_TLS_KEY and MARQUEE_TLS_CA go together: set all or none"
            )
        return all(given)


@dataclass(frozen=True)
class Certificate:
    """The three files' contents, as PEM."""

    certificate: bytes
    key: bytes
    authority: bytes

    def fits(self) -> bool:
        """Whether the key is the certificate's: not so for a moment while both are being replaced."""
        leaf = x509.load_pem_x509_certificate(self.certificate)
        key = serialization.load_pem_private_key(self.key, None)
        return key.public_key() == leaf.public_key()


class Files:
    """The three files, read again when one of them has changed."""

    def __init__(self, config: TlsConfig) -> None:
        self._paths = [Path(config.certificate), Path(config.key), Path(config.authority)]
        self._stamp: tuple[object, ...] = ()
        self._certificate = self.read()

    def read(self) -> Certificate:
        """What the files hold now.

        Raises:
            ConfigError: a file can't be read, at start. Later what was read last is kept.
        """
        try:
            stamp = tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in (p.stat() for p in self._paths))
            if stamp != self._stamp:
                found = Certificate(*(path.read_bytes() for path in self._paths))
                if found.fits():
                    self._certificate, self._stamp = found, stamp
                elif not self._stamp:
                    raise ConfigError(f"{self._paths[1].name} is not the key of {self._paths[0].name}")
        except OSError as error:
            if not self._stamp:
                raise ConfigError(f"the TLS files can't be read: {error}") from None
            log.warning("TLS files can't be read, the old ones stay in use: %s", error)
        return self._certificate


def host_name(service: str) -> str:
    """The DNS name in a service's certificate: `movie_svc` → `movie-svc`, as in Kubernetes."""
    return service.replace("_", "-")


def server_credentials(files: Files) -> grpc.ServerCredentials:
    """Credentials of a server that wants a certificate from every client."""

    def configuration(of: Certificate) -> Any:
        return grpc.ssl_server_certificate_configuration([(of.key, of.certificate)], of.authority)

    current = files.read()

    # Asked at each handshake. A configuration may be handed out once only: grpcio frees it after use, and
    # handing out the same one again crashes the process under concurrent handshakes.
    def fetch() -> Any:
        nonlocal current
        now = files.read()
        if now is current:
            return None
        current = now
        log.info("the TLS certificate was rotated")
        return configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        configuration(current), fetch, require_client_authentication=True
    )


def channel_credentials(certificate: Certificate) -> grpc.ChannelCredentials:
    """Credentials of a client that shows its certificate."""
    return grpc.ssl_channel_credentials(certificate.authority, certificate.key, certificate.certificate)


def peer_of(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Which process is calling, such as `edge` or `ranking_svc`; empty without a certificate of ours."""
    # A tenth of what it costs to ask for all that is known of the connection, its certificate included.
    if context.peer_identity_key() != _SAN:
        return ""
    for name in context.peer_identities() or ():
        text = name.decode(errors="replace")
        if text.startswith(TRUST_DOMAIN):
            return str(text.removeprefix(TRUST_DOMAIN))
    return ""


class RotatingChannel(grpc.aio.Channel):
    """A channel that is opened again when the certificate has changed.

    grpcio fixes a client's credentials when a channel is made. Calls under way
    end on the old channel.
    """

    def __init__(self, files: Files, make: Callable[[Certificate], grpc.aio.Channel]) -> None:
        self._files = files
        self._make = make
        self._certificate = files.read()
        self._looked = time.monotonic()
        self._closing: set[asyncio.Task[None]] = set()
        self.current = make(self._certificate)

    def refresh(self) -> grpc.aio.Channel:
        """The channel to call on now; looks at the files at most once a second."""
        if time.monotonic() - self._looked > _LOOK_INTERVAL_S:
            self._looked = time.monotonic()
            certificate = self._files.read()
            if certificate is not self._certificate:
                self._certificate = certificate
                old, self.current = self.current, self._make(certificate)
                closing = asyncio.ensure_future(old.close(_OLD_CHANNEL_GRACE_S))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        return self.current

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _MultiCallable(self, lambda channel: channel.stream_stream(*args, **kwargs))

    async def __aenter__(self) -> "RotatingChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await asyncio.gather(self.current.close(grace), *self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.refresh().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.refresh().channel_ready()


class _MultiCallable:
    """One method of a RotatingChannel, bound to the channel of the moment."""

    def __init__(self, owner: RotatingChannel, bind: Callable[[grpc.aio.Channel], Any]) -> None:
        self._owner = owner
        self._bind = bind
        self._channel = owner.current
        self._bound = bind(self._channel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        channel = self._owner.refresh()
        if channel is not self._channel:
            self._channel, self._bound = channel, self._bind(channel)
        return self._bound(*args, **kwargs)
