"""`marquee up --cluster`, its databases alone: who leads, what outlives what, and what stays."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local.cluster import patroni, probes
from local.stack import state as states
from local.stack.layout import Stack, StackError
from local.stack.provision import REWINDER, SUPERUSER
from tests.integration.local.test_stack import Marquee, gone
from tests.support.parts import hung, pids_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

WORDS = ("up", "--cluster", "--only", "postgres-proxy", "--only", "sentinel")
ROLES = {
    "postgres": ["leader", "replica", "sync standby"],
    "etcd": ["follower", "follower", "leader"],
    "redis": ["master", "replica", "replica"],
}


@pytest.fixture
def marquee(tmp_path: Path) -> Iterator[Marquee]:
    command = Marquee(tmp_path / "home")
    assert (done := command(*WORDS)).returncode == 0, done.stdout + done.stderr
    yield command
    command("down")


def roles(marquee: Marquee) -> dict[str, str]:
    return {each["name"]: each["role"] for each in marquee.status()["processes"] if each["role"]}


def stack_of(marquee: Marquee) -> Stack:
    found = states.live(marquee.home)
    assert found is not None
    return found.stack(marquee.home)


async def settled_roles(marquee: Marquee) -> dict[str, str]:
    """Who is what once all have answered, which must be as `ROLES` has it."""

    def of(found: dict[str, str], kind: str) -> list[str]:
        return sorted(role for name, role in found.items() if name.partition(".")[0] == kind)

    def told() -> dict[str, str] | None:
        # On a busy machine an answer may come too late, and who does not answer has no role.
        found = roles(marquee)
        return found if all(len(of(found, kind)) == 3 for kind in ROLES) else None

    found = await eventually(told)
    assert {kind: of(found, kind) for kind in ROLES} == ROLES
    return found


async def test_a_cluster_of_databases(marquee: Marquee) -> None:
    # At once: before a synchronous standby is named, a commit would stand on one server only.
    found = await settled_roles(marquee)
    stack = stack_of(marquee)
    connection = await asyncpg.connect(stack.dsn(SUPERUSER))
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS x")

    # An old primary can ask the new one what it must go back to (pg_rewind).
    rewinder = await asyncpg.connect(stack.dsn(REWINDER, database="postgres"))
    assert await rewinder.fetchval("SELECT 1") == 1
    await rewinder.close()

    # With no standby that answers, who waits for one is told so.
    others = [name for name in stack.names("postgres") if found[name] != "leader"]
    refused = pytest.raises(StackError, match=r"no synchronous standby was named within 0\.5 s \(postgres")
    with refused, hung(*(pid for name in others for pid in pids_of(stack, name))):
        await probes.await_sync_standby(stack, 0.5)

    # Its Patroni dies: the server goes on, and a new Patroni takes it over.
    leader = next(name for name, role in found.items() if name.startswith("postgres") and role == "leader")
    server = patroni.server_pids(stack, leader)
    assert len(server) == 1
    os.kill(marquee.process(leader)["pid"], signal.SIGKILL)
    await eventually(lambda: marquee.process(leader)["restarts"] == 1 and marquee.status()["healthy"], 120)
    assert roles(marquee)[leader] == "leader"
    assert patroni.server_pids(stack, leader) == server
    await connection.close()
    again = await asyncpg.connect(stack.dsn(SUPERUSER))
    assert await again.fetchval("SELECT x FROM kept") == 1
    await again.close()
    assert marquee.process(leader)["memory_mib"] > 20, "the server that lives on counts"

    # Another shape beside it is refused.
    other = marquee("up", "--only", "redis")
    assert other.returncode == 1
    assert "a cluster stack is up, not a plain one" in other.stderr

    # The supervisor dies: nothing is left, servers neither. Started again, all is as it was.
    pids = [*marquee.pids(), *(pid for n in stack.names("postgres") for pid in patroni.server_pids(stack, n))]
    os.kill(marquee.status()["supervisor_pid"], signal.SIGKILL)
    await eventually(lambda: all(map(gone, pids)), 60)
    assert marquee(*WORDS).returncode == 0
    connection = await asyncpg.connect(stack_of(marquee).dsn(SUPERUSER))
    assert await connection.fetchval("SELECT x FROM kept") == 1
    await connection.close()

    # It stops in order, although servers are nobody's children.
    pids = [*marquee.pids(), *(pid for n in stack.names("postgres") for pid in patroni.server_pids(stack, n))]
    assert marquee("down").returncode == 0
    assert all(map(gone, pids))
