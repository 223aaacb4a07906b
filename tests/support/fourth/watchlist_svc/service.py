"""The RPCs of watchlist_svc."""

import re
from typing import Final

from marquee.watchlists.v1 import watchlists_pb2 as pb

from mesh import identity, names
from mesh.errors import invalid
from mesh.rpc import Context
from watchlist_svc.config import WatchlistConfig
from watchlist_svc.store import Store

_ITEM_RE: Final = re.compile(r"users/me/watchlist/(tt\d{7,9})", re.ASCII)


class WatchlistService:
    """The servicer; see `mesh.rpc`."""

    def __init__(self, store: Store, config: WatchlistConfig) -> None:
        self._store = store
        self._config = config

    async def AddItem(self, request: pb.AddItemRequest, _context: Context) -> pb.Item:
        user = identity.require().subject
        found = _ITEM_RE.fullmatch(request.name)
        if found is None:
            raise invalid("name", "this is not users/me/watchlist/IMDB_ID", "INVALID_ITEM_NAME")
        movie = names.movie_number(f"movies/{found[1]}")
        await self._store.add(user, movie)
        return _item(user, movie)

    async def ListItems(self, request: pb.ListItemsRequest, _context: Context) -> pb.ListItemsResponse:
        user = identity.require().subject
        if request.parent != "users/me":
            raise invalid("parent", "the only parent is users/me", "INVALID_PARENT")
        movies = await self._store.movies(user, self._config.shown)
        return pb.ListItemsResponse(items=[_item(user, movie) for movie in movies])


def _item(user: str, movie: int) -> pb.Item:
    return pb.Item(name=f"users/{user}/watchlist/{names.imdb_id(movie)}")
