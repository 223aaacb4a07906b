"""The databases of ratings: which there are, and which of them has a user.

Each is a complete one, with its outbox, its offsets and its replicas; no
statement reaches two of them. The first one has all users until they are divided
(`rating_svc.reshard`). See docs/decisions/0036.
"""

import asyncio
import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from mesh.config import ConfigError, load, setting
from mesh.errors import MarqueeError, unavailable
from mesh.postgres import Postgres, PostgresConfig
from rating_svc import slot_rows
from rating_svc.slots import Claims, Conflict, Division

log = logging.getLogger(__name__)

OF_ONE: Final = ("MARQUEE_PG_PRIMARY", "MARQUEE_PG_REPLICAS", "MARQUEE_PG_SESSION")
"""What each database has of its own; other settings count for all."""
_LOOK_S: Final = 1.0
CLOSED_S: Final = 5.0
"""For how long a database that gave users away is still read; what they wrote since is pending for longer."""


@dataclass(frozen=True)
class ShardsConfig:
    """Over how many databases ratings are spread."""

    count: int = setting(
        "MARQUEE_RATING_SHARDS",
        1,
        "databases that hold ratings. Those beside the first have addresses of their own, as in "
        "MARQUEE_PG_PRIMARY_SHARD1, MARQUEE_PG_REPLICAS_SHARD1, MARQUEE_PG_SESSION_SHARD1. After more were "
        "added, `rating_svc reshard` moves users there",
        low=1,
        high=100,
    )


def configs(environ: Mapping[str, str] | None = None) -> list[PostgresConfig]:
    """How each database is reached.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    source = os.environ if environ is None else environ
    found = [load(PostgresConfig, source)]
    for number in range(1, load(ShardsConfig, source).count):
        own = {name: source.get(f"{name}_SHARD{number}", "") for name in OF_ONE}
        if not own[OF_ONE[0]].strip():
            raise ConfigError(
                f"{OF_ONE[0]}_SHARD{number} is not set: it must hold the DSN of that shard's primary"
            )
        config = load(PostgresConfig, {**source, **own})
        found.append(dataclasses.replace(config, name=f"shard-{number}"))
    return found


def of_shard(name: str, number: int) -> str:
    """What something is called that each database has: the first one's has the plain name."""
    return f"{name}-shard-{number}" if number else name


class Shards:
    """The databases, and the division of users as this process knows it."""

    def __init__(self, databases: Sequence[Postgres], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.databases: Final = databases
        self._claims: list[Claims | None] = [None] * len(databases)
        self.division = Division(self._claims)
        self._looked = False
        self._read_until: dict[int, float] = {}

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.databases) > 1

    def __iter__(self) -> Iterator[tuple[int, Postgres]]:
        return iter(enumerate(self.databases))

    @property
    def first(self) -> Postgres:
        """The one that knows first of new lives of the log."""
        return self.databases[0]

    def heard(self, shard: int) -> list[Claims | None]:
        """What the others beside one were last heard to say."""
        return [claims for number, claims in enumerate(self._claims) if number != shard]

    def find(self, user: str) -> int | None:
        """Which database a user is read from; None while none can be."""
        division = self.division
        slot = division.slot_of(user)
        owner = division.owners[slot]
        if owner is None or (not owner.open and self._clock() > self._read_until.get(slot, 0)):
            return None
        return owner.shard

    def of(self, user: str) -> int:
        """Which database a user is read from.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE`, it is not known, or the user is being moved.
        """
        found = self.find(user)
        if found is None:
            raise unavailable("DATABASE_UNAVAILABLE", "your ratings can't be read now; try again", 2)
        return found

    async def follow(self) -> None:
        """Learns who has which users, forever. What a database said last counts while it is away."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Asks all databases once."""
        said = await asyncio.gather(*(self._ask(postgres) for postgres in self.databases))
        claims = [new if new is not None else old for new, old in zip(said, self._claims, strict=True)]
        try:
            division = Division(claims)
        except Conflict as error:
            log.critical("%s: the division before counts. See docs/operations/shards.md", error)
            return
        self._note_closed(division)
        self._claims, self.division, self._looked = claims, division, True

    async def _ask(self, postgres: Postgres) -> Claims | None:
        try:
            return slot_rows.claims(await postgres.fetch(slot_rows.ALL, fresh=True))
        except (MarqueeError, asyncpg.UndefinedTableError) as error:
            log.debug("%s does not say which users it has: %s", postgres.label, error)
            return None

    def _note_closed(self, division: Division) -> None:
        """Who was open a moment ago has all that was stored until then, for a while."""
        now = self._clock()
        for slot, owner in enumerate(division.owners):
            if owner is None or owner.open:
                self._read_until[slot] = math.inf if owner else 0.0
            elif self._read_until.get(slot) == math.inf or (self._looked and not self.division.divided):
                self._read_until[slot] = now + CLOSED_S

    async def fetch(self, query: str, *args: Any, fresh: bool = False) -> list[asyncpg.Record]:
        """Rows of a query from all databases that answer.

        Raises:
            MarqueeError: UNAVAILABLE `DATABASE_UNAVAILABLE`, none does.
        """
        rows: list[asyncpg.Record] = []
        failed: list[MarqueeError] = []
        asked = [postgres.fetch(query, *args, fresh=fresh) for postgres in self.databases]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, MarqueeError):
                failed.append(answer)
            elif isinstance(answer, asyncpg.UndefinedTableError):
                pass  # a new one, whose schema is not made yet
            elif isinstance(answer, BaseException):
                raise answer
            else:
                rows += answer
        if len(failed) == len(self.databases):
            raise failed[0]
        return rows
