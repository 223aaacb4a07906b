"""A configuration that Envoy would not take never replaces the one that runs."""

import asyncio
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from edge import canary, files, policies
from edge.limits import DEFAULT_FILE
from edge.render import EdgeTls, render_validated
from tests.support.edge.mesh import SERVICES, Edge, envoy_command, running_edge
from tests.support.ports import free_port
from tests.support.waiting import eventually

MOVIE = "/v1/movies/tt0111161"


@pytest.fixture
async def edge() -> Any:
    async with running_edge() as edge:
        yield edge


def live(edge: Edge) -> dict[str, bytes]:
    folder = edge.folder / "envoy"
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


async def test_a_broken_table_changes_nothing(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    before = live(edge)
    table = policies.load_table()
    table["retry_policies"]["reads"]["retry_back_off"]["base_interval"] = "soon"
    monkeypatch.setattr(policies, "load_table", lambda: table)
    with pytest.raises(ValueError, match=r"Envoy refuses.*base_interval"):
        await asyncio.to_thread(render_validated, edge.settings, edge.folder / "envoy")
    assert live(edge) == before
    assert (await edge.http.get(MOVIE)).status_code == 200


async def test_broken_limits_change_nothing(edge: Edge, tmp_path: Path) -> None:
    before = live(edge)
    limits = yaml.safe_load(DEFAULT_FILE.read_text())
    limits["request_headers_timeout"] = "ten seconds"
    (tmp_path / "limits.yaml").write_text(yaml.safe_dump(limits))
    broken = dataclasses.replace(edge.settings, limits_file=tmp_path / "limits.yaml")
    with pytest.raises(ValueError, match="Envoy refuses"):
        await asyncio.to_thread(render_validated, broken, edge.folder / "envoy")
    assert live(edge) == before


async def test_a_good_one_goes_live_without_a_restart(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    table = policies.load_table()
    table["cors"]["max_age"] = "60"
    monkeypatch.setattr(policies, "load_table", lambda: table)
    await asyncio.to_thread(render_validated, edge.settings, edge.folder / "envoy")
    asked = {"origin": "https://fans.example", "access-control-request-method": "GET"}

    async def live_now() -> bool:
        return (await edge.http.options(MOVIE, headers=asked)).headers["access-control-max-age"] == "60"

    await eventually(live_now, what="the new table")
    assert [path.name for path in edge.folder.iterdir() if path.name.startswith(".")] == []


async def test_a_trial_goes_on_over_a_new_configuration(edge: Edge) -> None:
    trial = {name: [f"127.0.0.1:{edge.service.port}"] for name in SERVICES}
    settings = dataclasses.replace(edge.settings, canaries=trial)
    folder = edge.folder / "envoy"
    await asyncio.to_thread(render_validated, settings, folder)
    canary.set_share(folder, "movie_svc", 10)
    await asyncio.to_thread(render_validated, settings, folder)
    assert canary.shares(folder) == {"movie_svc": 10}


async def test_a_broken_file_put_there_by_hand_leaves_the_old_routes_running(edge: Edge) -> None:
    path = edge.folder / "envoy" / "routes.yaml"
    broken = files.read_yaml(path)
    broken["resources"][0]["virtual_hosts"][0]["routes"][0]["direct_response"] = {"status": 9999}

    async def refusals() -> int:
        stats = await edge.stats("^http.edge.rds.edge.update_")
        return stats["http.edge.rds.edge.update_rejected"] + stats["http.edge.rds.edge.update_failure"]

    for text in (yaml.safe_dump(broken), "resources: ["):
        before = await refusals()
        files.replace(path, text)

        async def refused(before: int = before) -> bool:
            return await refusals() > before

        await eventually(refused, what="a refusal")
        assert (await edge.http.get("/healthz")).text == "ok\n"
        assert (await edge.http.get(MOVIE)).status_code == 200


async def test_files_for_another_machine_are_looked_at_on_this_one(edge: Edge, tmp_path: Path) -> None:
    """As a CI job or an init container renders them: nothing that they name is here."""
    there, out = Path("/not-on-this-machine"), tmp_path / "envoy"
    settings = dataclasses.replace(
        edge.settings,
        runtime_folder=there / "envoy",
        access_log=str(there / "logs" / "access.log"),
        log_key=there / "secrets" / "log-key",
        tls=EdgeTls(there / "edge.pem", there / "edge.key", there / "ca.pem"),
    )
    await asyncio.to_thread(render_validated, settings, out)
    written = {path.name: path.read_text() for path in out.rglob("*") if path.suffix in (".yaml", ".lua")}
    assert str(tmp_path) not in "".join(written.values()), "they name the place where they will be found"
    assert f"path: {there}/logs/access.log" in written["envoy.yaml"]
    assert f"value: {there}/secrets/log-key" in written["envoy.yaml"]
    assert f"filename: {there}/envoy/module.so" in written["envoy.yaml"]
    assert f"filename: {there}/envoy/module.so" in written["routes.yaml"]

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    limits = tmp_path / "limits.yaml"
    limits.write_text(
        DEFAULT_FILE.read_text().replace("request_headers_timeout: 10s", "request_headers_timeout: soon")
    )
    with pytest.raises(ValueError, match="Envoy refuses"):
        await asyncio.to_thread(render_validated, dataclasses.replace(settings, limits_file=limits), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


async def test_files_rendered_for_another_folder_work_there(edge: Edge, tmp_path: Path) -> None:
    """Without a key of their own given, they bring the one that they will find beside them."""
    there = tmp_path / "there"
    settings = dataclasses.replace(
        edge.settings, runtime_folder=there, edge_port=free_port(), admin_port=free_port()
    )
    await asyncio.to_thread(render_validated, settings, tmp_path / "out")
    (tmp_path / "out").rename(there)
    process = await asyncio.create_subprocess_exec(*envoy_command(there), stderr=asyncio.subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.edge_port}") as http:

            async def served() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await http.get(MOVIE)).status_code == 200
                return False

            await eventually(served, what="an answer")
            assert (await http.get("/v1/users/me/ratings", headers=edge.bearer())).status_code == 200
    finally:
        process.terminate()
        await process.wait()
