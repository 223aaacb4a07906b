"""How long transactions of this service have been open: old ones keep rows from being cleaned up."""

import asyncio
import logging
from typing import Final

from prometheus_client import Gauge

from mesh.errors import MarqueeError
from mesh.metrics import Group
from mesh.postgres import Postgres

log = logging.getLogger(__name__)

_METRICS: Final = Group()

LONGEST: Final = Gauge(
    "marquee_postgres_longest_transaction_seconds",
    "How long the oldest transaction of this service's role on the primary has been open, in seconds. Over "
    "minutes: find it in pg_stat_activity; what it holds can't be cleaned up, and tables grow.",
    ("server",),
    registry=_METRICS,
)

_INTERVAL_S: Final = 15.0
# A role sees of others that they are there, and not what they do.
_OLDEST: Final = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
WHERE usename = current_user AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


async def watch(postgres: Postgres, interval_s: float = _INTERVAL_S) -> None:
    """Looks forever; one process of a service does it for all."""
    _METRICS.export()
    while True:
        try:
            async with postgres.read(fresh=True) as connection:
                LONGEST.labels(postgres.label).set(await connection.fetchval(_OLDEST))
        except MarqueeError as error:
            log.info("transactions can't be seen: %s", error)
        await asyncio.sleep(interval_s)
