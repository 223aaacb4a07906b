"""By which names titles are found: what `names`, `vocabulary` and the words of `movies` hold.

A name once known stays forever: OMDb's answer, a new spelling or another
catalogue only add to it.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Final

from mesh.errors import MarqueeError
from mesh.postgres import Connection, Postgres
from movie_svc import titles
from movie_svc.storing.records import MovieRecord

log = logging.getLogger(__name__)

BATCH: Final = 1000
SHORTEST_WORD: Final = 3
"""Shorter words, in letters, are not taken for misspelled ones."""

_KEEP_S: Final = 30.0
# Less than the server bears (`mesh.sessions`).
_PATIENCE_S: Final = 50.0
_ADD_NAMES: Final = """
INSERT INTO names (key, movie_id, title)
SELECT * FROM unnest($1::text[], $2::int[], $3::text[]) AS t(key, movie_id, title)
ON CONFLICT DO NOTHING"""
_ADD_WORDS: Final = """
UPDATE movies AS m SET
    words = strip(m.words) || array_to_tsvector(string_to_array(t.words, ' ')),
    words_before = m.words,
    named = now()
FROM unnest($1::int[], $2::text[]) AS t(id, words)
WHERE m.id = t.id AND NOT tsvector_to_array(m.words) @> string_to_array(t.words, ' ')"""
# In one order, so that two who add the same words don't wait for each other.
_ADD_VOCABULARY: Final = """
INSERT INTO vocabulary
SELECT t.word FROM unnest($1::text[]) AS t(word)
WHERE NOT EXISTS (SELECT FROM vocabulary AS v WHERE v.word = t.word)
ORDER BY t.word COLLATE "C"
ON CONFLICT DO NOTHING"""
_TO_KEY: Final = """
SELECT id, title FROM movies WHERE keyed IS DISTINCT FROM fetch_time ORDER BY id LIMIT $1
FOR UPDATE SKIP LOCKED"""
# Of the words by other rules those stay that are the same by these: nothing else may tell of the names that
# they are of.
_KEY: Final = """
UPDATE movies AS m SET
    title_key = t.key,
    words = array_to_tsvector(
            ARRAY(SELECT w FROM unnest(tsvector_to_array(m.words)) AS w WHERE w ~ '^[a-z0-9]+$')
        ) || array_to_tsvector(string_to_array(t.words, ' ')),
    keyed = m.fetch_time
FROM unnest($1::int[], $2::text[], $3::text[]) AS t(id, key, words)
WHERE m.id = t.id"""

Names = dict[tuple[str, int], str]
"""The name, as it is written, by key and movie's number."""


async def remember(connection: Connection, found: Collection[MovieRecord]) -> None:
    """Adds the names of records, and those that their titles have now, before the records are written."""
    numbers = [record.number for record in found]
    rows = await connection.fetch("SELECT id, title FROM movies WHERE id = ANY($1::int[])", numbers)
    now_called = {row["id"]: row["title"] for row in rows}
    added: Names = {}
    for record in found:
        known = now_called.get(record.number, record.title)
        # A key that stays `movies.title_key` need not stand here too.
        stays = record.title_key if titles.key(known) == record.title_key else None
        added |= _names(record.number, (record.title, known, *record.names), stays)
    await _add(connection, added, {word for record in found for word in record.words.split()})
    again = [record for record in found if record.number in now_called]
    if again:
        await connection.execute(_ADD_WORDS, [r.number for r in again], [r.words for r in again])


async def renew(pg: Postgres) -> int:
    """Makes the keys of one batch of titles by the rules of now; returns how many there were.

    Several processes may do this at once: each takes others.

    Raises:
        MarqueeError: UNAVAILABLE if the primary is away.
    """
    async with pg.write() as connection:
        rows = await connection.fetch(_TO_KEY, BATCH)
        if rows:
            added: Names = {}
            for row in rows:
                added |= _names(row["id"], (row["title"],), titles.key(row["title"]))
            words = [titles.all_words(row["title"]) for row in rows]
            await _add(connection, added, {word for line in words for word in line})
            await connection.execute(
                _KEY,
                [row["id"] for row in rows],
                [titles.key(row["title"]) for row in rows],
                [" ".join(line) for line in words],
                # Now and then the index of words is put in order within one of them, which takes seconds.
                timeout=_PATIENCE_S,
            )
    return len(rows)


async def renew_all(pg: Postgres) -> None:
    """Makes the keys of all titles whose keys are not by the rules of now: some 10 s for each 10,000.

    Raises:
        MarqueeError: UNAVAILABLE if the primary is away.
    """
    total = 0
    while renewed := await renew(pg):
        total += renewed
    if total:
        log.info("made the keys of %d titles", total)


async def keep(pg: Postgres) -> None:
    """Does so again and again: while a release is replaced, the one before writes by its own rules."""
    while True:
        await asyncio.sleep(_KEEP_S)
        try:
            await renew_all(pg)
        except MarqueeError as error:
            log.info("the keys of titles wait: %s", error)


def _names(number: int, called: Iterable[str], stays: str | None) -> Names:
    return {(key, number): name for name in called for key in titles.keys(name) if key != stays}


async def _add(connection: Connection, added: Names, words: Collection[str]) -> None:
    names = sorted(added)
    await connection.execute(
        _ADD_NAMES,
        [key for key, _ in names],
        [number for _, number in names],
        [added[name] for name in names],
    )
    spelled = [word for word in words if len(word) >= SHORTEST_WORD and not word.isdigit()]
    await connection.execute(_ADD_VOCABULARY, spelled)
