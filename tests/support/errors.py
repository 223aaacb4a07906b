"""What an error says to programs."""

from collections.abc import Awaitable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mesh.errors import DETAILS_KEY


class Details:
    """The code of an error, and what stands in its details."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.reason = ""
        self.fields: list[str] = []
        self.retry_s: float | None = None
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers.get(DETAILS_KEY, b""))
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]
            elif detail.Unpack(retry):
                self.retry_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


async def refused(call: Awaitable[object]) -> Details:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Details(caught.value)
