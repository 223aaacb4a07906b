"""What asking OMDb can come to. Only two of these say anything about a title."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Failure(StrEnum):
    """Why there is no answer. None of these means that a title does not exist."""

    OFF = "off"
    """OMDb is not asked in this installation."""
    SWITCHED_OFF = "switched_off"
    """An operator has switched it off for now (`mesh.switches`)."""
    LIMITED = "limited"
    """OMDb says that the key's daily limit is used up."""
    BAD_KEY = "bad_key"
    CAPTCHA = "captcha"
    """OMDb's firewall wants a person."""
    DOWN = "down"
    """5xx, or HTML in place of an answer."""
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    """Neither JSON nor what OMDb makes of it, or an answer about another title."""
    BREAKER = "breaker"
    """Not asked: it failed too often just now."""
    QUOTA = "quota"
    """Not asked: today's share of calls is used up."""
    BUSY = "busy"
    """Not asked: too many questions are under way."""


@dataclass(frozen=True, slots=True)
class Found:
    """OMDb's answer."""

    body: Mapping[str, Any]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Absent:
    """OMDb says that there is no such title."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """OMDb could not be asked, or did not answer."""

    failure: Failure
    detail: str
    retry_after: float
    """Seconds."""


Outcome = Found | Absent | Failed
