"""The SQL of verifications: when aggregates were last compared with a recount, and what was found."""

from dataclasses import dataclass
from typing import Final

from mesh.postgres import Postgres

_PUT: Final = """
    INSERT INTO verification (finished_at, compared, differing, repaired) VALUES (now(), $1, $2, $3)
    ON CONFLICT (only_row) DO UPDATE SET finished_at = excluded.finished_at,
        compared = excluded.compared, differing = excluded.differing, repaired = excluded.repaired"""
_GET: Final = "SELECT extract(epoch FROM finished_at)::float8, differing - repaired FROM verification"


@dataclass(frozen=True, slots=True)
class Verification:
    """When one ended, in seconds since 1970, and how many movies differed after it."""

    finished_at: float
    left: int


class VerificationStore:
    """The table `verification`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def verified(self, compared: int, differing: int, repaired: int) -> None:
        """Writes down that a comparison of all movies has ended just now.

        Raises:
            MarqueeError: UNAVAILABLE, the database is away.
        """
        async with self._postgres.write() as connection:
            await connection.execute(_PUT, compared, differing, repaired)

    async def last_verification(self) -> Verification | None:
        """The last one; None if there never was one.

        Raises:
            MarqueeError: UNAVAILABLE, the database is away.
        """
        row = await self._postgres.fetchrow(_GET, fresh=True)
        return None if row is None else Verification(row[0], row[1])
