"""Tokens, and when to ask for the next one."""

import base64
import binascii
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EARLY_S: Final = 30.0
"""So long before its end a token is replaced, in seconds."""


@dataclass(frozen=True)
class Token:
    """An access token."""

    value: str
    expires: float | None = None
    """When it ends, in seconds since 1970; read from the token itself, if not given and it is a JWT."""

    def ends(self) -> float | None:
        """When it ends, if that is known."""
        return _claim(self.value) if self.expires is None else self.expires


class Kept:
    """The token of now. It is asked for again shortly before its end, or when it was refused."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._token: Token | None = None

    def get(self) -> Token | None:
        """The token, if it is good for some time yet."""
        if self._token is None:
            return None
        ends = self._token.ends()
        return self._token if ends is None or ends - EARLY_S > self._clock() else None

    def put(self, given: Token | str) -> Token:
        """Keeps a new one."""
        self._token = Token(given) if isinstance(given, str) else given
        return self._token

    def forget(self) -> None:
        """The token was refused."""
        self._token = None


def _claim(value: str) -> float | None:
    try:
        part = value.split(".")[1]
        ends = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("exp")
    except (IndexError, ValueError, binascii.Error, AttributeError):
        return None
    return float(ends) if isinstance(ends, int | float) else None
