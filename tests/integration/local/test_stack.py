"""`marquee up`, `down` and `status` on real processes, and who may reach what in the stores."""

import asyncio
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from local.commands.status import Status, look
from local.stack import state as states
from local.stack.layout import HOST, Home, Stack
from mesh import redisdb
from mesh.services import SERVICES, Service
from tests.support.clients import redis_of
from tests.support.command import run
from tests.support.waiting import eventually

NAMES = [service.name for service in SERVICES]
_REFUSED = r"(?i)permission"


class Marquee:
    """The command, on a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = Home(home)
        self._environment = environment

    def __call__(self, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return run(self.home, *words, environment=self._environment, before=before)

    def up(self, *words: str) -> None:
        done = self("up", *words)
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return found

    def process(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(p for p in self.status()["processes"] if p["name"] == name)
        return found

    def pids(self) -> list[int]:
        return [process["pid"] for process in self.status()["processes"]]


@pytest.fixture
def marquee(tmp_path: Path) -> Iterator[Marquee]:
    command = Marquee(tmp_path / "home")
    yield command
    command("down")


def gone(pid: int) -> bool:
    return states.start_ticks(pid) == 0


async def test_up_starts_what_status_shows_and_down_leaves_nothing(marquee: Marquee) -> None:
    marquee.up("--infra")

    def well() -> dict[str, Any] | None:
        # A busy machine may have been late with an answer to one question.
        found = marquee.status()
        return found if found["healthy"] else None

    status = await eventually(well)
    names = {process["name"] for process in status["processes"]}
    assert {"postgres", "postgres-replica", "redis", "kafka"} <= names
    assert all(process["memory_mib"] > 0 for process in status["processes"])
    again = marquee("up", "--infra")
    assert again.returncode == 0
    assert "already up" in again.stdout
    more = marquee("up")
    assert more.returncode == 1
    assert "already up, without edge-controller, envoy" in more.stderr
    pids = [*marquee.pids(), status["supervisor_pid"]]
    assert marquee("down").returncode == 0
    assert all(map(gone, pids))
    stopped = marquee("status")
    assert stopped.returncode == 1
    assert "the mesh is not up" in stopped.stderr


async def test_what_dies_is_started_again_on_its_port(marquee: Marquee) -> None:
    marquee.up("--only", "redis")
    before = marquee.process("redis")
    os.kill(before["pid"], signal.SIGKILL)
    await eventually(lambda: marquee.status()["healthy"] and marquee.process("redis")["pid"] != before["pid"])
    after = marquee.process("redis")
    assert after["address"] == before["address"]
    assert after["restarts"] == 1


async def test_a_killed_supervisor_leaves_no_process_behind_and_up_works_again(marquee: Marquee) -> None:
    marquee.up("--only", "postgres", "--only", "redis")
    pids = marquee.pids()
    os.kill(marquee.status()["supervisor_pid"], signal.SIGKILL)
    await eventually(lambda: all(map(gone, pids)))
    assert marquee("status").returncode == 1
    marquee.up("--only", "postgres", "--only", "redis")
    assert not set(marquee.pids()) & set(pids)


async def test_data_outlast_down_and_up(marquee: Marquee) -> None:
    marquee.up("--only", "postgres-replica")
    connection = await asyncpg.connect(_stack(marquee).dsn("movie_svc"))
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    marquee("down")
    marquee.up("--only", "postgres-replica")
    for server in ("postgres", "postgres-replica"):
        connection = await asyncpg.connect(_stack(marquee).dsn("movie_svc", server))
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()


def test_what_can_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "redis-server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho the disk is made of cheese\nexit 7\n")
    broken.chmod(0o755)
    marquee = Marquee(tmp_path / "home", PATH=f"{broken.parent}:{os.environ['PATH']}")
    done = marquee("up", "--only", "redis")
    assert done.returncode == 1
    assert "redis: it exited with code 7 before it was ready" in done.stderr
    assert "the disk is made of cheese" in done.stderr
    assert states.live(marquee.home) is None


def test_a_taken_edge_port_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        marquee = Marquee(tmp_path / "home", MARQUEE_EDGE_PORT=str(other.getsockname()[1]))
        done = marquee("up")
    assert done.returncode == 1
    assert "is taken by another program: give another one with MARQUEE_EDGE_PORT" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_postgres_does_not_run_as_root_even_in_a_folder_closed_to_others(marquee: Marquee) -> None:
    marquee.home.root.mkdir()
    marquee.home.root.parent.chmod(0o700)
    marquee.up("--only", "postgres")
    process = Path(f"/proc/{marquee.process('postgres')['pid']}")
    assert process.stat().st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="all tests run as another user than root")
def test_up_works_for_a_user_who_is_not_root() -> None:
    nobody = pwd.getpwnam("nobody")
    become = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--")
    # A program that setpriv starts by itself may pass where that user can't.
    probe = [*become, "sh", "-c", '"$0" -c "import mesh"', sys.executable]
    if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this checkout, or its Python, lies in a folder that other users can't enter")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        marquee = Marquee(Path(folder) / "home", HOME=folder)
        up = marquee("up", "--only", "postgres-replica", "--only", "redis", before=become)
        try:
            assert up.returncode == 0, up.stderr
            asyncio.run(eventually(lambda: marquee.status()["healthy"]))
        finally:
            marquee("down", before=become)


async def test_the_replica_follows_the_primary(stack: Stack) -> None:
    primary = await asyncpg.connect(stack.dsn("movie_svc"))
    replica = await asyncpg.connect(stack.dsn("movie_svc", "postgres-replica"))
    try:
        await primary.execute("CREATE TABLE IF NOT EXISTS followed (value int)")
        await primary.execute("INSERT INTO followed VALUES (7)")
        written = await primary.fetchval("SELECT pg_current_wal_lsn() - '0/0'")
        async with asyncio.timeout(60):
            while True:
                if await replica.fetchval("SELECT pg_last_wal_replay_lsn() - '0/0'") >= written:
                    break
                await asyncio.sleep(0.02)
        assert await replica.fetchval("SELECT value FROM followed") == 7
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await replica.execute("INSERT INTO followed VALUES (8)")
        await primary.execute("DROP TABLE followed")
    finally:
        await primary.close()
        await replica.close()


@pytest.mark.parametrize("service", NAMES)
async def test_a_role_reaches_its_own_schema_and_no_other(stack: Stack, service: str) -> None:
    own = await asyncpg.connect(stack.dsn(service))
    await own.execute("CREATE TABLE IF NOT EXISTS private (secret text)")
    try:
        assert await own.fetchval("SELECT current_schema()") == service
        for other in NAMES:
            if other == service:
                continue
            stranger = await asyncpg.connect(stack.dsn(other))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await stranger.fetch(f"SELECT * FROM {service}.private")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await stranger.execute(f"CREATE TABLE {service}.intruder (x int)")
            await stranger.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.execute("CREATE TABLE public.shared (x int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(stack.dsn(service, database="postgres"))
    finally:
        await own.execute("DROP TABLE private")
        await own.close()


async def test_a_wrong_password_is_refused(stack: Stack) -> None:
    password = stack.secrets.get("postgres/movie_svc")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.dsn("movie_svc").replace(password, "guess"))


@pytest.mark.parametrize("service", SERVICES, ids=NAMES)
async def test_a_redis_user_reaches_its_own_keys_and_channels_alone(stack: Stack, service: Service) -> None:
    async with redis_of(stack, service.name) as client:
        await client.set(f"{service.key_prefix}mine", "1", ex=5)
        assert await client.get(f"{service.key_prefix}mine") == b"1"
        await client.publish(f"{service.key_prefix}news", "x")
        for other in SERVICES:
            if other == service:
                continue
            for call in (client.get, client.delete):
                with pytest.raises(redis.ResponseError, match=_REFUSED):
                    await call(f"{other.key_prefix}theirs")
            with pytest.raises(redis.ResponseError, match=_REFUSED):
                await client.publish(f"{other.key_prefix}news", "x")
        for command in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "KEYS *", "SHUTDOWN NOSAVE"):
            with pytest.raises(redis.ResponseError, match=_REFUSED):
                await client.execute_command(*command.split())


async def test_redis_lets_nobody_in_without_a_password(stack: Stack) -> None:
    stranger = redisdb.RedisConfig(url=f"redis://{HOST}:{stack.port('redis', 'redis')}/0")
    async with redisdb.connect(stranger) as client:
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            await client.ping()


async def test_an_idle_mesh_is_ready_and_small(mesh_stack: Stack) -> None:
    state = states.live(mesh_stack.home)
    assert state is not None

    async def ready() -> Status | None:
        # A busy machine may be late with one of the answers.
        found = await asyncio.to_thread(look, mesh_stack.home, state)
        return found if found.healthy else None

    assert (await eventually(ready, interval=0.5)).memory_mib < 1536


def _stack(marquee: Marquee) -> Stack:
    state = states.live(marquee.home)
    assert state is not None
    return state.stack(marquee.home)
