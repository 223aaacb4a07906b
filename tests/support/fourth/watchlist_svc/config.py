"""The settings of watchlist_svc."""

from dataclasses import dataclass

from mesh.config import setting


@dataclass(frozen=True)
class WatchlistConfig:
    """How long lists may be."""

    shown: int = setting("MARQUEE_WATCHLIST_SHOWN", 100, "how many movies of a list are shown", low=1)
