"""What the trace of a rating is made of, whoever has collected it: from the call to the chart."""

from collections.abc import Sequence
from typing import Final

from tests.support.traces import Told, path_to, tree

SUBMITTED: Final = "marquee.ratings.submitted.v1"
CHANGED: Final = "marquee.ratings.changed.v1"
STORED: Final = [
    "edge: PUT /v1/{name=users/*/ratings/*}",
    "edge: router rating_svc egress",
    "rating_svc: marquee.ratings.v1.RatingService/RateMovie",
    f"rating_svc: send {SUBMITTED}",
    f"rating_svc-worker: process {SUBMITTED}",
]
COUNTED: Final = [
    *STORED,
    f"rating_svc-relay: send {CHANGED}",
    f"ranking_svc-consumer: process {CHANGED}",
]
LAST: Final = ("ranking_svc", "refresh charts")
"""Where it ends: the process and the span."""
CHARTED: Final = [*COUNTED, "ranking_svc: refresh charts"]

# With what they must be below, where that is always the same.
_PARTS: Final = [
    ("rating_svc", "redis", STORED[:3]),
    ("rating_svc", "marquee.movies.v1.MovieService/", STORED[:3]),
    ("movie_svc", "postgresql", None),
    ("rating_svc-worker", "postgresql WITH", [*STORED, "rating_svc-worker: transaction"]),
    ("rating_svc-worker", "postgresql COMMIT", [*STORED, "rating_svc-worker: transaction"]),
    ("ranking_svc-consumer", "postgresql WITH", [*COUNTED, "ranking_svc-consumer: transaction"]),
    ("ranking_svc-consumer", "redis PUBLISH", COUNTED),
    ("ranking_svc", "postgresql SELECT", [*CHARTED, "ranking_svc: transaction"]),
]


def assert_whole(spans: Sequence[Told]) -> None:
    """It is one tree, with each step below the one before, all stores in it, and nothing failed."""
    (root,) = tree(spans)
    shown = "\n".join(root.lines())
    assert path_to(spans, *LAST) == CHARTED, shown
    for service, name, above in _PARTS:
        path = path_to(spans, service, name)
        assert path, f"no {name} of {service} in\n{shown}"
        assert above is None or path[:-1] == above, shown
    assert not [span for span in spans if span.failed], shown
