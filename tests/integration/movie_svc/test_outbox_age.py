"""For how long events wait to be sent."""

from pathlib import Path

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import migrations, postgres
from mesh.config import load
from mesh.hedge import HedgedReads
from mesh.postgres import PostgresConfig
from movie_svc import metrics
from movie_svc.storing.store import Store

MIGRATIONS = Path(migrations.__file__).parents[1] / "movie_svc" / "migrations"


async def test_the_outbox_tells_how_many_events_wait_and_for_how_long(stack: Stack) -> None:
    config = load(PostgresConfig, stores(stack, "movie_svc"))
    await migrations.migrate(config.own_session, MIGRATIONS)
    pg = await postgres.connect(config)
    store = Store(pg, HedgedReads(pg, metrics.HEDGED))
    async with pg.write() as connection:
        # An event of the release before, which does not say when, and one that has waited.
        await connection.execute("TRUNCATE outbox")
        await connection.execute("INSERT INTO outbox (movie_id, event) VALUES (1, '')")
        await connection.execute(
            "INSERT INTO outbox (movie_id, event, queued_at) VALUES (2, '', now() - interval '90 s')"
        )
    waiting, age_s = await store.outbox_state()
    assert waiting == 2
    assert 90 <= age_s < 150
    async with pg.write() as connection:
        await connection.execute("TRUNCATE outbox")
    assert await store.outbox_state() == (0, 0)
    await pg.close()
