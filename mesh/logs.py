"""Logs: JSON lines with the field names of the Elastic Common Schema.

Every line written while an RPC is under way carries its `trace.id` and
`http.request.id`, so that it can be found from a trace and from an answer.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import ecs_logging

from mesh import identity, tracing
from mesh.config import setting
from mesh.log_levels import LEVELS, Watcher
from mesh.log_repeats import Repeats
from mesh.span_log import CALLS


@dataclass(frozen=True)
class LogConfig:
    """What is logged."""

    level: str = setting(
        "MARQUEE_LOG_LEVEL",
        "info",
        "from which level on lines are written",
        choices=LEVELS,
    )
    levels_file: str = setting(
        "MARQUEE_LOG_LEVELS_FILE",
        "",
        "a file of levels that count while processes run, as lines `PROCESS=LEVEL` or `PROCESS:LOGGER=LEVEL` "
        "(`*`: all processes); it is looked at every two seconds; empty for none",
    )


class _CallFields(logging.Filter):
    """Adds the ids of the RPC under way."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def filter(self, record: logging.LogRecord) -> bool:
        fields = {"service.name": self._service}
        if ids := tracing.ids():
            fields["trace.id"], fields["span.id"] = ids
        if request_id := identity.call().header(identity.REQUEST_ID_HEADER):
            fields["http.request.id"] = request_id
        # What a line says of itself stays.
        record.__dict__.update({name: value for name, value in fields.items() if name not in record.__dict__})
        return True


def init(service: str, config: LogConfig) -> None:
    """Sends this process's logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ecs_logging.StdlibFormatter(exclude_fields=["log.original", "process"]))
    # Before the fields: what is suppressed needs none.
    handler.addFilter(Repeats(frozenset({identity.AUDIT, CALLS})))
    handler.addFilter(_CallFields(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger(identity.AUDIT).setLevel(logging.INFO)
    if config.levels_file:
        Watcher(service, Path(config.levels_file), config.level).start()
