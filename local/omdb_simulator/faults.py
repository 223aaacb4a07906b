"""How OMDb fails: each mode's status and body, verbatim as OMDb was seen to answer."""

import random
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

MODES: Final = {
    "ok": "answer",
    "limited": "the key's daily limit is used up: 401",
    "invalid_key": "the key is refused: 401",
    "down": "Cloudflare can't reach the origin: 522 and HTML",
    "unavailable": "Cloudflare says the origin is unavailable: 503 and HTML",
    "timeout": "Cloudflare gave the origin up: 524 and HTML",
    "captcha": "the firewall asks for a captcha: 403 and HTML",
    "hanging": "the connection is held open and nothing comes",
    "html": "HTML under status 200",
    "truncated": "a JSON body that stops half-way, under status 200",
    "broken_json": "the answer to an id with letters: not JSON",
    "control_characters": "JSON with raw control characters and a bad escape in the plot",
    "near_match": "t= answers with another title",
    "not_found": "every title is unknown",
}

INVALID_KEY: Final = b'{"Response":"False","Error":"Invalid API key!"}'
NO_KEY: Final = b'{"Response":"False","Error":"No API key provided."}'
LIMITED: Final = b'{"Response":"False","Error":"Request limit reached!"}'
CONVERSION: Final = (
    '{{"Response":"False","Error":"Conversion from string "{text}" to type \'Double\' is not valid."}}'
)


def cloudflare(status: int, title: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html class="no-js" lang="en-US">\n<head>\n'
        f"<title>www.omdbapi.com | {status}: {title}</title>\n</head>\n"
        f'<body><div id="cf-wrapper"><h1>Error {status}</h1><h2>{title}</h2>'
        "<p>Cloudflare Ray ID: 3f0b7a5f1c2d4e6a</p></div></body>\n</html>\n"
    ).encode()


CLOUDFLARE: Final = {
    "down": (522, "Connection timed out"),
    "unavailable": (503, "Service Temporarily Unavailable"),
    "timeout": (524, "A timeout occurred"),
    "captcha": (403, "Attention Required!"),
    "html": (200, "Just a moment..."),
}


@dataclass
class Behaviour:
    """What the simulator does with each call until it is told otherwise."""

    mode: str = "ok"
    share: float = 1.0
    """The share of calls, 0–1, that `mode` befalls; the rest are answered."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    """Added to the latency: uniform between 0 and this."""
    daily_limit: int = 0
    """Calls after which the key is used up; 0 is no limit."""

    def changed(self, wish: dict[str, Any]) -> "Behaviour":
        """This with the fields of `wish` instead.

        Raises:
            ValueError: it can't be used; the message says why.
        """
        known = {f.name: f.type for f in fields(self)}
        unknown = set(wish) - set(known)
        if unknown:
            raise ValueError(f"no such field: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        merged = Behaviour(**{**asdict(self), **wish})
        if merged.mode not in MODES:
            raise ValueError(f"no such mode: {merged.mode}; there are {', '.join(MODES)}")
        for name in ("share", "latency_ms", "jitter_ms", "daily_limit"):
            value = getattr(merged, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} must be a number from 0 up, not {value!r}")
        if merged.share > 1:
            raise ValueError(f"share must be 0–1, not {merged.share}")
        return merged

    def delay_s(self, rng: random.Random) -> float:
        return (self.latency_ms + rng.uniform(0, self.jitter_ms)) / 1000

    def mode_now(self, rng: random.Random) -> str:
        return self.mode if self.share >= 1 or rng.random() < self.share else "ok"
