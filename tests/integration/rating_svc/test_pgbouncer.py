"""rating_svc and ranking_svc behind a real PgBouncer in transaction mode, with fewer servers than clients.

`scripts/pgbouncer.sh` brings it where it can; elsewhere these tests are skipped, and say so.
"""

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from local.servers.postgres_server import plain_user
from local.stack.layout import HOST, Stack, cache_folder, checkout
from mesh.postgres import PostgresConfig, connect
from ranking_svc.horizon import Horizon
from ranking_svc.store import Store
from tests.support.ports import free_port
from tests.support.rankings import history, place_in
from tests.support.ratings import RatingProcess, User, movie_name, totals
from tests.support.waiting import eventually

SERVERS = 3
MOVIE = 7_000_001


@pytest.fixture(scope="module")
def pgbouncer(stack: Stack) -> Path:
    """The program, where the stack's plain user can reach it."""
    script = checkout() / "scripts" / "pgbouncer.sh"
    found = subprocess.run([script], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no PgBouncer: {' '.join(found.stderr.splitlines()[-2:])}")
    program = Path(found.stdout.strip())
    if cache_folder() not in program.parents:
        return program
    return shutil.copytree(program.parent, stack.data / "pgbouncer") / program.name


def tracks_statements(pgbouncer: Path) -> bool:
    """From 1.21 on, PgBouncer keeps track of prepared statements."""
    told = subprocess.run([pgbouncer, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    assert found is not None, told
    return (int(found[1]), int(found[2])) >= (1, 21)


@pytest.fixture(scope="module", params=[0, 256])
def pooled(stack: Stack, pgbouncer: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a process that goes through PgBouncer, by MARQUEE_PG_STATEMENT_CACHE."""
    if request.param and not tracks_statements(pgbouncer):
        pytest.skip("this PgBouncer keeps no track of prepared statements: 1.21 does")
    port = free_port()
    folder = stack.data / f"pgbouncer-{port}"
    folder.mkdir(mode=0o755)
    passwords = "".join(
        f'"{role}" "{stack.secrets.get(f"postgres/{role}")}"\n' for role in ("rating_svc", "ranking_svc")
    )
    (folder / "users.txt").write_text(passwords)
    server = f"host={HOST} port={stack.port('postgres', 'sql')}"
    settings = {
        "listen_addr": HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "plain",
        "auth_file": folder / "users.txt",
        "pool_mode": "transaction",
        "default_pool_size": SERVERS,
        **({"max_prepared_statements": 100} if request.param else {}),
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (folder / "pgbouncer.ini").write_text(
        "\n".join(["[databases]", f"* = {server}", "[pgbouncer]", *lines, ""])
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig=SIGINT",
                *plain_user(stack),
                "--",
                str(pgbouncer),
                str(folder / "pgbouncer.ini"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    _await_port(port, process, folder / "log")
    yield {
        role: stack.dsn(role).replace(f":{stack.port('postgres', 'sql')}/", f":{port}/")
        for role in ("rating_svc", "ranking_svc")
    } | {"cache": str(request.param)}
    process.send_signal(signal.SIGINT)
    process.wait(60)


def _await_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((HOST, port), 0.2).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


async def test_ratings_go_the_whole_way(stack: Stack, pooled: dict[str, str], tmp_path: Path) -> None:
    environment = {
        "MARQUEE_PG_PRIMARY": pooled["rating_svc"],
        "MARQUEE_PG_REPLICAS": "",
        "MARQUEE_PG_SESSION": stack.dsn("rating_svc"),
        "MARQUEE_PG_STATEMENT_CACHE": pooled["cache"],
    }
    prefix = f"pooled-{uuid.uuid4()}"
    async with (
        RatingProcess(stack, "serve", tmp_path, **environment) as serve,
        RatingProcess(stack, "worker", tmp_path, **environment, MARQUEE_RATING_BATCH="5"),
        RatingProcess(stack, "worker", tmp_path, **environment, MARQUEE_RATING_BATCH="5"),
        RatingProcess(stack, "relay", tmp_path, **environment) as relay,
        grpc.aio.insecure_channel(serve.address) as channel,
    ):
        users = [User(channel, f"{prefix}-{i}") for i in range(40)]
        before = await totals(channel, [MOVIE])
        for score in (3, 8):
            await asyncio.gather(*(user.rate(MOVIE + i, score) for user in users for i in range(3)))
        await asyncio.gather(*(user.delete(MOVIE + 2) for user in users))
        # Reads of many at once, while the workers write through the same few servers.
        lists = await asyncio.gather(*(user.list_all(page_size=1) for user in users))
        assert all([r.score for r in listed] == [8, 8] for listed in lists)

        async def counted() -> bool:
            found = await totals(channel, [MOVIE])
            return sum(found.get(movie_name(MOVIE), [])) == sum(before.get(movie_name(MOVIE), [])) + 40

        await eventually(counted, 60)

        async def handed_on() -> bool:
            # At least one vote of each for each of the two movies that they still rate.
            return await relay.metric("marquee_rating_relay_published_total") >= 2 * len(users)

        await eventually(handed_on, 60)


async def test_aggregates_and_charts_are_those_of_the_changes(stack: Stack, pooled: dict[str, str]) -> None:
    changes, expected = history(1200)
    async with place_in(stack):
        pg = await connect(
            PostgresConfig(primary=pooled["ranking_svc"], statement_cache=int(pooled["cache"]), pool_size=12)
        )
        store = Store(pg)
        try:
            async with store.snapshot() as snapshot:
                state, _ = await snapshot.state()
            horizon = Horizon(state)
            parts = [changes[at : at + 50] for at in range(0, len(changes), 50)]
            # Each part twice: at least once is what a log promises.
            _, *news = await asyncio.gather(
                asyncio.gather(*(store.apply(part) for part in parts for _ in range(2))),
                *(store.news(horizon) for _ in range(10)),
            )
            assert all(one.state.xmin >= state.xmin for one in news)  # type: ignore[attr-defined]
            found = {movie: counts for movie, counts in await store.histograms_after(0, 1000) if any(counts)}
            assert found == expected
            last = await store.news(horizon)
            assert {tally.movie for tally in last.tallies} >= set(expected)
        finally:
            await pg.close()
