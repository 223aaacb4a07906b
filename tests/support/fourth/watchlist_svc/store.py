"""The SQL of watchlist_svc."""

from typing import Final

from mesh.postgres import Postgres

_ADD: Final = "INSERT INTO watchlist (user_id, movie_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_MOVIES: Final = "SELECT movie_id FROM watchlist WHERE user_id = $1 ORDER BY added_at DESC, movie_id LIMIT $2"


class Store:
    """Whose list has which movies."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def add(self, user: str, movie: int) -> None:
        """Adds a movie, unless it is there."""
        async with self._postgres.write() as connection:
            await connection.execute(_ADD, user, movie)

    async def movies(self, user: str, limit: int) -> list[int]:
        """The movies of a list, the last added first."""
        rows = await self._postgres.fetch(_MOVIES, user, limit, fresh=True)
        return [row["movie_id"] for row in rows]
