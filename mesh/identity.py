"""Who is asking: what the edge found in the verified token, and the call's other headers.

Envoy strips every `x-marquee-*` header that comes from outside and sets its own
from the token's claims. Where mTLS is on, they count only from a caller whose
certificate says that it is the edge, or an operator.
"""

import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from mesh import names
from mesh.errors import denied, unauthenticated

SUBJECT_HEADER: Final = "x-marquee-subject"
SCOPES_HEADER: Final = "x-marquee-scopes"
EXPERIMENT_HEADER: Final = "x-marquee-experiment"
VARIANT_HEADER: Final = "x-marquee-variant"
REQUEST_ID_HEADER: Final = "x-request-id"
TRACEPARENT_HEADER: Final = "traceparent"

AUDIT: Final = "marquee.audit"
"""The logger of what operators did: always written, whatever the level."""

_audit = logging.getLogger(AUDIT)


@dataclass(frozen=True)
class Identity:
    """A verified user."""

    subject: str
    scopes: frozenset[str]


class Call:
    """The headers of the RPC under way, and the time left for it; read only when asked for."""

    def __init__(
        self,
        metadata: Iterable[tuple[str, str | bytes]],
        may_vouch: Callable[[], bool] = lambda: True,
        time_remaining: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._metadata = metadata
        self._may_vouch = may_vouch
        self._identity: Identity | None = None
        self._asked = False
        self.time_remaining = time_remaining
        """Seconds until the caller's deadline, down to 0; None if there is none."""

    def header(self, key: str) -> str:
        """A header's value; empty if it was not sent."""
        for name, value in self._metadata:
            if name == key:
                return value if isinstance(value, str) else value.decode(errors="replace")
        return ""

    def vouched_header(self, key: str) -> str:
        """A header's value if the caller is one that is believed; else empty."""
        value = self.header(key)
        return value if value and self._may_vouch() else ""

    @property
    def identity(self) -> Identity | None:
        """Who is asking, if the caller is one that is believed about it."""
        # Not a `cached_property`: until Python 3.12 that takes a lock, for each call.
        if not self._asked:
            self._asked = True
            subject = self.header(SUBJECT_HEADER)
            if subject and self._may_vouch():
                self._identity = Identity(subject, frozenset(self.header(SCOPES_HEADER).split()))
        return self._identity


_NO_CALL: Final = Call(())
_call: ContextVar[Call] = ContextVar("call", default=_NO_CALL)


def enter(call: Call) -> None:
    """Makes `call` the one under way in this task. For `mesh.rpc`."""
    _call.set(call)


def call() -> Call:
    """The RPC under way; one without headers outside of any."""
    return _call.get()


def current() -> Identity | None:
    """Who is asking; None if no token was sent."""
    return _call.get().identity


def require(scope: str = "") -> Identity:
    """Who is asking.

    Raises:
        MarqueeError: UNAUTHENTICATED without a token, PERMISSION_DENIED without `scope`.
    """
    identity = current()
    if identity is None:
        raise unauthenticated("this call needs a token: Authorization: Bearer …")
    if not names.is_user(identity.subject):
        raise denied("SUBJECT_NOT_ALLOWED", "the token's subject can't be a user's name here")
    if scope and scope not in identity.scopes:
        raise denied("SCOPE_REQUIRED", f"this call needs a token with the scope {scope}")
    if scope:
        # What needs a scope is an operator's action.
        fields = {"event.dataset": AUDIT, "event.kind": "event", "user.name": identity.subject}
        _audit.info("%s may use %s", identity.subject, scope, extra=fields)
    return identity
