"""The RPCs of watchlist_svc."""

from marquee.watchlists.v1 import watchlists_pb2 as pb

from mesh import identity, names
from mesh.rpc import Context
from watchlist_svc.config import WatchlistConfig
from watchlist_svc.store import Store


class WatchlistService:
    """The servicer; see `mesh.rpc`."""

    def __init__(self, store: Store, config: WatchlistConfig) -> None:
        self._store = store
        self._config = config

    async def AddItem(self, request: pb.AddItemRequest, _context: Context) -> pb.Item:
        user = identity.require().subject
        movie = names.movie_number(f"movies/{request.name.rpartition('/')[2]}")
        await self._store.add(user, movie)
        return _item(user, movie)

    async def ListItems(self, request: pb.ListItemsRequest, _context: Context) -> pb.ListItemsResponse:
        user = identity.require().subject
        movies = await self._store.movies(user, self._config.shown)
        return pb.ListItemsResponse(items=[_item(user, movie) for movie in movies])


def _item(user: str, movie: int) -> pb.Item:
    return pb.Item(name=f"users/{user}/watchlist/{names.imdb_id(movie)}")
