"""Ports, secrets and names of a local stack."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local.servers import envoy_server
from local.stack.layout import HOST, Home, Secrets, Shape, Stack, StackError, choose_ports
from local.supervision.processes import port_names, select, table

ROOT = Path(__file__).resolve().parents[3]


def test_ports_of_last_time_are_kept_while_they_are_free() -> None:
    first = choose_ports(["a/x", "b/x"], {}, {})
    assert choose_ports(["a/x", "b/x"], first, {}) == first


def test_a_port_that_somebody_took_meanwhile_is_replaced() -> None:
    first = choose_ports(["a/x", "b/x"], {}, {})
    with socket.socket() as other:
        other.bind((HOST, first["a/x"]))
        other.listen()
        second = choose_ports(["a/x", "b/x"], first, {})
    assert second["a/x"] != first["a/x"]
    assert second["b/x"] == first["b/x"]


def test_no_port_is_given_twice() -> None:
    names = [f"p{i}/x" for i in range(200)]
    assert len(set(choose_ports(names, {}, {}).values())) == len(names)


def test_two_processes_that_choose_at_the_same_time_get_different_ports() -> None:
    """What each is given is taken only when its servers listen."""
    code = """from local.stack.layout import choose_ports
print(*choose_ports([str(each) for each in range(250)], {}, {}).values(), flush=True)
input()"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        theirs = set(map(int, other.stdout.readline().split()))
        ours = set(choose_ports([str(each) for each in range(250)], {}, {}).values())
        other.stdin.write("\n")
    assert len(theirs) == len(ours) == 250
    assert not theirs & ours


def test_a_taken_edge_port_is_refused_with_the_variable_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=rf"port {port} is taken.*MARQUEE_EDGE_PORT"):
            choose_ports(["envoy/edge"], {}, {"envoy/edge": port})


def test_secrets_differ_last_and_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    secrets = Secrets(path)
    assert secrets.get("a") != secrets.get("b")
    assert Secrets(path).get("a") == secrets.get("a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_part_of_the_stack_brings_what_it_needs_and_no_more() -> None:
    names = {process.name for process in select(["rating_svc-worker"])}
    assert names == {"postgres", "redis", "kafka", "rating_svc-worker"}


def test_infra_holds_no_service() -> None:
    names = {process.name for process in select(["infra"])}
    assert {"postgres", "postgres-replica", "redis", "kafka"} <= names
    assert not any(name.endswith("_svc") or "_svc-" in name for name in names)


def test_an_unknown_process_is_refused_with_the_known_ones() -> None:
    with pytest.raises(StackError, match="no process 'postgras': there are postgres,"):
        select(["postgras"])


def test_every_process_needs_only_processes_that_exist() -> None:
    known = {process.name for shape in Shape for process in table(shape)}
    for process in (*table(Shape.PLAIN), *table(Shape.CLUSTER)):
        assert set(process.needs) <= known, process.name


def test_with_a_key_the_real_omdb_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMDB_API_KEY", "secret")
    assert "omdb" not in {process.name for process in select(["movie_svc"])}


def test_each_instance_has_ports_and_all_stand_in_the_target(tmp_path: Path) -> None:
    names = port_names(select(["movie_svc"]), {"movie_svc": 2})
    stack = Stack(Home(tmp_path), choose_ports(names, {}, {}), {"movie_svc": 2})
    assert stack.names("movie_svc") == ["movie_svc", "movie_svc.2"]
    first, second = (stack.address(name, "grpc") for name in stack.names("movie_svc"))
    assert stack.target("movie_svc") == f"ipv4:{first},{second}"


def test_users_and_ports_share_no_memory_of_envoys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What root's Envoy left behind kept a plain user's on the same port from starting."""

    def base_id(user: int, port: int) -> int:
        monkeypatch.setattr(os, "getuid", lambda: user)
        command = envoy_server.command(Stack(Home(tmp_path), {"envoy/edge": port}))
        return int(command[command.index("--base-id") + 1])

    found = {base_id(user, port) for user in (0, 1000, 1001, 2**32 - 2) for port in (8080, 8081, 65_535)}
    assert len(found) == 12
    assert max(found) * 10 < 2**32
    assert base_id(1000, 8080) == base_id(1000, 8080)
