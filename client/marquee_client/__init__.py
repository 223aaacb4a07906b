"""A client of Marquee: `Client` for plain programs, `AsyncClient` for asyncio. Its guide is docs/client.md.

Both speak gRPC to the edge, with a deadline for each call. Reads are tried again while the edge is away,
writes too: each has an identity of its own and takes effect once.
"""

from marquee_client.aio import AsyncClient
from marquee_client.errors import (
    DeadlineError,
    InvalidRequestError,
    MarqueeError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    SignInError,
    UnavailableError,
    Violation,
)
from marquee_client.settings import ClientSettings
from marquee_client.sync import Client
from marquee_client.tokens import Token

__all__ = [
    "AsyncClient",
    "Client",
    "ClientSettings",
    "DeadlineError",
    "InvalidRequestError",
    "MarqueeError",
    "NotAllowedError",
    "NotFoundError",
    "RateLimitedError",
    "SignInError",
    "Token",
    "UnavailableError",
    "Violation",
]
