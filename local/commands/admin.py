"""What operators ask of the services directly, by gRPC: the edge has no route to it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from marquee.rankings.v1 import rankings_pb2, rankings_pb2_grpc
from marquee.ratings.v1 import internal_pb2, internal_pb2_grpc

from local.stack import certificates
from local.stack.layout import Stack, StackError
from mesh import tls
from mesh.identity import SCOPES_HEADER, SUBJECT_HEADER

_OPERATOR = ((SUBJECT_HEADER, "marquee-cli"), (SCOPES_HEADER, "marquee.admin"))
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Totals:
    """rating_svc's own recount of what is in its database."""

    histograms: dict[str, list[int]]
    """By IMDb id: how many gave 1, 2, … 10."""
    pending: int
    """Changes that were not handed to ranking_svc's topic yet."""

    @property
    def votes(self) -> int:
        return sum(map(sum, self.histograms.values()))


def rebuild_charts(stack: Stack) -> rankings_pb2.RebuildChartsResponse:
    """Measures the formula again and rebuilds all charts.

    Raises:
        StackError: ranking_svc refused, or did not answer.
    """
    with _calling(stack, "ranking_svc", "rebuild the charts") as channel:
        return rankings_pb2_grpc.RankingAdminServiceStub(channel).RebuildCharts(
            rankings_pb2.RebuildChartsRequest(), timeout=_TIMEOUT_S, metadata=_OPERATOR
        )


def reconcile(stack: Stack, *, repair: bool = False) -> rankings_pb2.ReconcileResponse:
    """Compares the aggregates with a recount of all ratings.

    Raises:
        StackError: ranking_svc refused, or did not answer.
    """
    with _calling(stack, "ranking_svc", "compare the aggregates") as channel:
        return rankings_pb2_grpc.RankingAdminServiceStub(channel).Reconcile(
            rankings_pb2.ReconcileRequest(repair=repair), timeout=_TIMEOUT_S, metadata=_OPERATOR
        )


def totals(stack: Stack) -> Totals:
    """Recounts all ratings.

    Raises:
        StackError: rating_svc refused, or did not answer.
    """
    histograms: dict[str, list[int]] = {}
    pending = 0
    with _calling(stack, "rating_svc", "recount the ratings") as channel:
        for part in internal_pb2_grpc.RatingTotalsServiceStub(channel).StreamTotals(
            internal_pb2.StreamTotalsRequest(), timeout=_TIMEOUT_S, metadata=_OPERATOR
        ):
            pending = part.outbox_pending
            for movie in part.totals:
                histograms[movie.movie.removeprefix("movies/")] = list(movie.histogram)
    return Totals(histograms, pending)


def operator_channel(stack: Stack, service: str) -> grpc.Channel:
    """A channel to a service with an operator's certificate."""
    files = tls.Files(certificates.of(stack.home, tls.OPERATOR))
    override = ("grpc.ssl_target_name_override", tls.host_name(service))
    return grpc.secure_channel(stack.target(service), tls.channel_credentials(files.read()), [override])


@contextlib.contextmanager
def _calling(stack: Stack, service: str, what: str) -> Iterator[grpc.Channel]:
    try:
        with operator_channel(stack, service) as channel:
            yield channel
    except grpc.RpcError as error:
        told = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else error
        raise StackError(f"{service} could not {what}: {told}") from error
