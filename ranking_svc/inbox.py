"""Forgets events that can't come again, so that the inbox stays small."""

import asyncio
import logging
from typing import Final

from mesh.errors import MarqueeError
from ranking_svc.store import Store

log = logging.getLogger(__name__)

_PORTION: Final = 5000
_PAUSE_S: Final = 0.1
_INTERVAL_S: Final = 60.0
_DAY_S: Final = 86_400.0


class Pruner:
    """Prunes the inbox. Several processes may: what one deletes the others don't find."""

    def __init__(self, store: Store, days: float) -> None:
        self._store = store
        self._older_than_s = days * _DAY_S

    async def run(self) -> None:
        """Prunes for ever."""
        while True:
            pruned = 0
            try:
                pruned = await self._store.prune_inbox(self._older_than_s, _PORTION)
            except MarqueeError as error:
                log.warning("the inbox is not pruned now: %s", error.message)
            await asyncio.sleep(_PAUSE_S if pruned == _PORTION else _INTERVAL_S)
