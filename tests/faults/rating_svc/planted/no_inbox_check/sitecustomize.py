"""A planted bug: ranking_svc counts whatever it is handed, without asking whether it had been before."""

import sys
from collections.abc import Iterable

if sys.orig_argv[-2:] == ["ranking_svc", "consumer"]:
    from mesh.postgres import Connection
    from ranking_svc import store, store_life
    from ranking_svc.model import Change, deltas

    async def wrong(connection: Connection, changes: Iterable[Change]) -> store.Taken:
        taken = list(changes)
        await store_life.begin(connection)
        await store._add(connection, deltas(taken))
        return store.Taken(taken, 0)

    store.take = wrong
