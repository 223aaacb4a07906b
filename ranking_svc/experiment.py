"""The experiment on the weighted score: which variant of the formula a call is answered by.

The edge decides who gets which, so that a user stays with one and its cache keeps them apart; this service
applies it, and says in the answer, in the trace and in a metric that it did.
"""

from typing import Final

from mesh import identity, tracing
from ranking_svc import metrics
from ranking_svc.cache import Headers
from ranking_svc.chart import Weighing

NAME: Final = "ranking-formula"
# The variant that changes nothing: those who are compared with.
CONTROL: Final = "control"


def arm() -> str:
    """The variant that the edge chose for the caller of the RPC under way; empty if they take no part."""
    call = identity.call()
    if call.vouched_header(identity.EXPERIMENT_HEADER) != NAME:
        return ""
    return call.vouched_header(identity.VARIANT_HEADER)


def exposed(wanted: str, weighing: Weighing) -> Headers:
    """Counts that a caller sees a variant; returns what the answer says of it.

    A variant that this release does not know is none: its caller gets what all get, and is not counted.
    """
    if not wanted or (wanted != CONTROL and wanted != weighing.variant):
        return ()
    metrics.EXPOSURES.labels(NAME, wanted).inc()
    tracing.note("marquee.experiment", NAME)
    tracing.note("marquee.variant", wanted)
    return ((identity.EXPERIMENT_HEADER, NAME), (identity.VARIANT_HEADER, wanted))
