"""Logs: JSON lines with the field names of the Elastic Common Schema.

Every line written while an RPC is under way carries its `trace.id` and
`http.request.id`, so that it can be found from a trace and from an answer.
"""

import logging
import sys
from dataclasses import dataclass

import ecs_logging

from mesh import identity
from mesh.config import setting


@dataclass(frozen=True)
class LogConfig:
    """What is logged."""

    level: str = setting(
        "MARQUEE_LOG_LEVEL",
        "info",
        "from which level on lines are written",
        choices=("debug", "info", "warning", "error"),
    )


class _CallFields(logging.Filter):
    """Adds the ids of the RPC under way."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def filter(self, record: logging.LogRecord) -> bool:
        call = identity.call()
        fields = {"service.name": self._service}
        traceparent = call.header(identity.TRACEPARENT_HEADER).split("-")
        if len(traceparent) == 4:
            fields["trace.id"], fields["span.id"] = traceparent[1], traceparent[2]
        if request_id := call.header(identity.REQUEST_ID_HEADER):
            fields["http.request.id"] = request_id
        record.__dict__.update(fields)
        return True


def init(service: str, config: LogConfig) -> None:
    """Sends this process's logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ecs_logging.StdlibFormatter(exclude_fields=["log.original", "process"]))
    handler.addFilter(_CallFields(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
