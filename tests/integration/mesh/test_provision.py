"""`python -m mesh.provision`, as a Job of Kubernetes runs it, on a PostgreSQL that nobody has prepared."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local.servers import postgres_server
from mesh import provision, sessions
from tests.support.ports import free_port

NEW = "it's a new one"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of the superuser of an empty server."""
    data, port = tmp_path_factory.mktemp("postgres") / "data", free_port()
    as_nobody: list[str] = []
    if os.geteuid() == 0:
        # initdb refuses to run as root.
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        as_nobody += [
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
        ]
    postgres_server.fresh(data)
    initdb, postgres = (str(postgres_server.binary(name)) for name in ("initdb", "postgres"))
    subprocess.run(
        [*as_nobody, initdb, f"--pgdata={data}", "--username=postgres", "--auth=trust", "--no-sync"],
        check=True,
        capture_output=True,
    )
    (data / "pg_hba.conf").write_text(
        "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    flags = [f"--port={port}", "--listen_addresses=127.0.0.1", "--unix_socket_directories="]
    process = subprocess.Popen([*as_nobody, postgres, "-D", str(data), *flags], stderr=subprocess.DEVNULL)
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for clients to go
        process.wait(30)


def program(server: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MARQUEE_PROVISION_DSN": server,
        "MARQUEE_PROVISION_PASSWORDS": str(folder),
    }
    command = [sys.executable, "-m", "mesh.provision"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def passwords(folder: Path, value: str) -> Path:
    for name in provision.WITH_SCHEMA:
        (folder / name).write_text(f"{value}\n")
    return folder


async def test_roles_and_schemas_are_made_and_passwords_are_renewed(server: str, tmp_path: Path) -> None:
    for value in ("first", NEW):
        done = program_once_ready(server, passwords(tmp_path, value))
        assert done.returncode == 0, done.stderr
        for name in provision.WITH_SCHEMA:
            address = server.replace("postgres@", f"{name}@").replace("/postgres", "/marquee")
            connection = await asyncpg.connect(address, password=value, timeout=30)
            assert await connection.fetchval("SELECT current_schema()") == name
            own = await connection.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = current_user")
            assert sorted(own) == sorted(f"{key}={wanted}" for key, wanted in sessions.SETTINGS.items())
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TABLE public.anything (x int)")
            await connection.close()


def test_a_missing_password_is_said_and_nothing_is_made(server: str, tmp_path: Path) -> None:
    done = program(server, tmp_path)
    assert done.returncode == 1
    assert "no password of movie_svc" in done.stderr
    assert "Traceback" not in done.stderr


def program_once_ready(server: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a Job does: again, while the server is not there yet."""
    done = program(server, folder)
    for _ in range(30):
        if "mesh.provision: " not in done.stderr or "refused" not in done.stderr:
            break
        done = program(server, folder)
    return done
