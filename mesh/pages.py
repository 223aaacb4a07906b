"""Tokens of pages (https://google.aip.dev/158).

A token holds where the next page starts and for which request; it is signed, so
that a forged one, or one of another request, is refused instead of obeyed.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any, Final

from mesh.config import setting
from mesh.errors import invalid

_TAG_BYTES: Final = 12
_MAX_TOKEN: Final = 1024


@dataclass(frozen=True)
class PagesConfig:
    """How page tokens are signed."""

    key: str = setting(
        "MARQUEE_PAGE_TOKEN_KEY",
        help="the secret that signs page tokens, in every process that serves; the same in all replicas",
        secret=True,
    )


class PageTokens:
    """Encodes and decodes page tokens.

    A token is base64url of an HMAC-SHA256 tag (12 bytes) and a JSON value; the
    tag also covers `binding`: the fields of the request that must be the same on
    the next page.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def encode(self, cursor: Any, *binding: object) -> str:
        """Makes the token of a JSON value."""
        body = json.dumps(cursor, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._tag(body, binding) + body).decode().rstrip("=")

    def decode(self, token: str, *binding: object, field: str = "page_token") -> Any:
        """Returns the JSON value; None for an empty token.

        Raises:
            MarqueeError: INVALID_ARGUMENT if this service did not make it for this request.
        """
        if not token:
            return None
        try:
            if len(token) > _MAX_TOKEN:
                raise ValueError
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise _refused(field) from None
        tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body, binding)):
            raise _refused(field)
        return json.loads(body)

    def _tag(self, body: bytes, binding: tuple[object, ...]) -> bytes:
        signed = repr(binding).encode() + b"\0" + body
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:_TAG_BYTES]


def _refused(field: str) -> Exception:
    return invalid(
        field,
        "this is not a token of this list; use the next_page_token of a page with the same other fields",
        "INVALID_PAGE_TOKEN",
    )
