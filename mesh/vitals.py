"""What a process tells of itself: how late its event loop runs, and until when its certificate is valid."""

import asyncio
from typing import Final

from cryptography import x509
from prometheus_client import Gauge, Histogram

from mesh import tls

LOOP_LAG: Final = Histogram(
    "marquee_event_loop_lag_seconds",
    "How late the event loop ran what was due, in seconds, asked twice a second. Over 0.1 often: something "
    "blocks the loop, or the process gets too little CPU; every call waits that long.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
CERTIFICATE_EXPIRY: Final = Gauge(
    "marquee_certificate_expiry_timestamp_seconds",
    "When the certificate that this process shows becomes invalid (own), and the first of those by which it "
    "verifies others (authority), in seconds since 1970. Within a week: see what renews it.",
    ("certificate",),
)

_INTERVAL_S: Final = 0.5


async def watch(files: tls.Files | None) -> None:
    """Measures forever; `files` are the process's certificate, if it has one."""
    loop = asyncio.get_running_loop()
    known: tls.Certificate | None = None
    while True:
        due = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
        if files is not None and (now := files.read()) is not known:
            known = now
            CERTIFICATE_EXPIRY.labels("own").set(_first_end(now.certificate))
            CERTIFICATE_EXPIRY.labels("authority").set(_first_end(now.authority))


def _first_end(pem: bytes) -> float:
    """When the first of these certificates becomes invalid, in seconds since 1970."""
    return min(each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(pem))
