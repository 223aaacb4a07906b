"""One line in the log for each traced call and batch, so that a trace is found in the logs too."""

import logging
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from opentelemetry.trace.status import StatusCode

CALLS: Final = "marquee.calls"
"""The logger of these lines."""

# What came to this process. What it asked of others is told by those, or by the trace alone.
_KINDS: Final = frozenset({SpanKind.SERVER, SpanKind.CONSUMER})
_log = logging.getLogger(CALLS)


class SpanLog(SpanProcessor):
    """Writes a line when a span ends."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.kind not in _KINDS or span.context is None or not _log.isEnabledFor(logging.INFO):
            return
        failed = span.status.status_code is StatusCode.ERROR
        fields = {
            "trace.id": format_trace_id(span.context.trace_id),
            "span.id": format_span_id(span.context.span_id),
            "event.dataset": CALLS,
            "event.outcome": "failure" if failed else "success",
            "event.duration": (span.end_time or 0) - (span.start_time or 0),
        }
        _log.info("%s %s", span.name, "failed" if failed else "ended", extra=fields)
