"""The SQL by which a change knows which life of the database it belongs to."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from mesh.postgres import Connection, Postgres
from ranking_svc.horizon import TRANSACTION_TIMEOUT_S

# A promotion takes another timeline, and a dump is restored into another system. `since` is the name of
# a life too, so it grows even if the new server's clock is behind.
_BEGIN: Final = """
    WITH here AS (
        SELECT system_identifier AS system_id,
               ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline
        FROM pg_control_system()
    ), another AS (
        UPDATE life AS l SET
            system_id = here.system_id, timeline = here.timeline,
            since = greatest(clock_timestamp(), l.since + interval '1 microsecond')
        FROM here WHERE (l.system_id, l.timeline) <> (here.system_id, here.timeline)
        RETURNING l.since
    )
    SELECT set_config('transaction_timeout', $1, true), (SELECT since FROM another)"""


_BEGIN_COUNTING: Final = _BEGIN + ", pg_advisory_xact_lock_shared(hashtext('repairs of ' || current_user))"
_REPAIRING: Final = "SELECT pg_advisory_xact_lock(hashtext('repairs of ' || current_user))"


@contextlib.asynccontextmanager
async def writing(postgres: Postgres) -> AsyncIterator[Connection]:
    """A transaction that changes what charts show.

    Raises:
        MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE` if the primary is gone.
    """
    async with postgres.write() as connection:
        await begin(connection)
        yield connection


async def begin(connection: Connection, *, counting: bool = False) -> None:
    """Begins such a transaction: says if the database has come to another life, and bounds its time.

    With `counting`, no aggregate is repaired until it ends; see `repairing`.
    """
    await connection.execute(_BEGIN_COUNTING if counting else _BEGIN, f"{TRANSACTION_TIMEOUT_S}s")


async def repairing(connection: Connection) -> None:
    """Waits until nobody counts, and lets nobody count until the transaction ends."""
    await connection.execute(_REPAIRING)
