"""Last night's backup is restored: what was rated since comes back from the log, and is counted once.

By the steps of docs/operations/operations-of-the-log.md, on the whole mesh.
"""

import asyncio
import os
import random
import shutil
import time
from pathlib import Path

import asyncpg
import pytest

from local.commands.edge_client import EdgeClient
from local.commands.movielens import Rating, sample_films
from local.servers import postgres_server
from local.stack import state as states
from local.stack.layout import Home, Stack
from tests.support.command import marquee
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

FILMS = [str(body["imdbID"]) for body in sample_films()]


async def movies(stack: Stack) -> list[str]:
    """Some that OMDb's simulator knows, whichever answers it has."""
    client = EdgeClient(stack, "partner")
    try:
        answers = [(film, await client.get(f"/v1/movies/{film}", "onlooker")) for film in FILMS]
    finally:
        client.close()
    return [film for film, answer in answers if answer.status == 200][:8]


def up(home: Home) -> Stack:
    marquee(home, "up")
    state = states.live(home)
    assert state is not None
    return state.stack(home)


async def rate(stack: Stack, films: list[str], seed: int, count: int) -> dict[tuple[str, str], int]:
    """What users rate through the edge, each when the one before was answered; returns their last scores."""
    chance = random.Random(seed)
    client = EdgeClient(stack, "partner")
    last = {}
    try:
        for number in range(count):
            user, movie, score = f"user-{number % 30}", chance.choice(films), chance.randint(1, 10)
            await client.rate(Rating(user, movie, score, 0))
            last[user, movie] = score
    finally:
        client.close()
    return last


async def handed_on(stack: Stack, expected: dict[tuple[str, str], int]) -> None:
    """Waits until all ratings are stored and handed on. `verify` waits for the rest."""

    async def stored() -> bool:
        connection = await asyncpg.connect(stack.dsn("rating_svc"))
        try:
            rows = await connection.fetch("SELECT user_id, movie_id, score FROM ratings")
            waiting = await connection.fetchval("SELECT count(*) FROM outbox")
        finally:
            await connection.close()
        found = {(row[0], f"tt{row[1]:07d}"): row[2] for row in rows}
        return found == expected and waiting == 0

    await eventually(stored, 120, 0.2)


async def test_a_restored_backup_gets_back_what_was_rated_since(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    try:
        stack = await asyncio.to_thread(up, home)
        expected = await rate(stack, films := await movies(stack), 1, 150)
        await handed_on(stack, expected)
        backup = stack.data / "backup"
        with (tmp_path / "backup.log").open("wb") as log:
            await postgres_server.back_up(stack, backup, log)
        # Scores that change, come back and are new: all after the backup.
        expected |= await rate(stack, films, 2, 200)
        await handed_on(stack, expected)
        await asyncio.to_thread(marquee, home, "down")
        began = time.monotonic()
        restore(stack, backup)
        stack = await asyncio.to_thread(up, home)
        ready = time.monotonic() - began
        await handed_on(stack, expected)
        caught_up = time.monotonic() - began
        verified = await asyncio.to_thread(marquee, home, "verify")
        # For docs/operations/disaster-recovery.md.
        print(f"answering {ready:.0f} s after the restore began, with all ratings after {caught_up:.0f} s")
        assert f"compared {len({movie for _, movie in expected})} movies: 0 differ" in verified
    finally:
        await asyncio.to_thread(marquee, home, "down")


def restore(stack: Stack, backup: Path) -> None:
    folder = postgres_server.primary_folder(stack)
    owner = folder.stat()
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)
    # It has come further than the primary is now: it is made again from it.
    shutil.rmtree(postgres_server.replica_folder(stack))
