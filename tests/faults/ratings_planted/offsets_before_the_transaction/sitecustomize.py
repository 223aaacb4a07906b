"""A planted bug: the worker commits a batch's offsets before its transaction, not after."""

import sys
from typing import Any

if sys.orig_argv[-2:] == ["rating_svc", "worker"]:
    from rating_svc.worker import Worker

    right = Worker._deal_with

    async def wrong(self: Worker, consumer: Any, batch: Any) -> None:
        await consumer.commit()
        await right(self, consumer, batch)

    Worker._deal_with = wrong  # type: ignore[method-assign]
