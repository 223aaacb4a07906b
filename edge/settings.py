"""What the edge's configuration depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge import limits
from edge.issuer import IssuerConfig
from edge.tracing import EdgeTraceConfig


@dataclass(frozen=True)
class EdgeTls:
    """Files (PEM) that the edge shows itself to the services with, and verifies them by."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class EdgeSettings:
    """Where the edge listens, and what stands behind it."""

    edge_port: int
    """TCP port of the API."""
    admin_port: int
    """TCP port of Envoy's admin page, on the loopback."""
    endpoints: Mapping[str, Sequence[str]]
    """`HOST:PORT` of each instance, by service, such as movie_svc. A name is asked
    of DNS again and again, and all its addresses are taken."""
    jwks: Path | None = None
    """File of the token issuer's public keys, unless `issuer` names a URL of them."""
    issuer: IssuerConfig = field(default_factory=IssuerConfig)
    """Whose tokens are taken."""
    canaries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """`HOST:PORT` of each instance of a new release on trial, by service; `edge.canary` sends calls there."""
    edge_address: str = "127.0.0.1"
    """Address that the API is served on."""
    stats_port: int | None = None
    """TCP port of Envoy's statistics for Prometheus; else its admin page alone has them."""
    limits_file: Path = limits.DEFAULT_FILE
    """What one client may do."""
    rate_limit_service: str | None = None
    """`HOST:PORT` of the rate-limit service that several Envoys share; without it, each counts for itself."""
    trusted_hops: int = 0
    """How many proxies before the edge may be believed about a client's address (X-Forwarded-For)."""
    access_log: str = "/dev/stdout"
    """File of the access log, one JSON object a line."""
    traces: EdgeTraceConfig = field(default_factory=EdgeTraceConfig)
    """Which calls are sampled, and where spans go."""
    trace_key: Path | None = None
    """File of the key that operators have a call traced by; `trace-key` beside the other files if not given,
    made if missing and if there is where to send spans to."""
    log_key: Path | None = None
    """File of the key that users in the access log are hashed with; `log-key` beside the other files if not
    given, made if missing. Several Envoys need the same, or a user has several hashes."""
    tls: EdgeTls | None = None
    """mTLS to the services; without it, plain text."""
    runtime_folder: Path | None = None
    """Folder that Envoy will find these files in, if it is not the one they are written to."""
