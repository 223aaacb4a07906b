"""A configuration that Envoy would not take never replaces the one that runs."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge import canary, files, routes
from edge.limits import DEFAULT_FILE
from edge.render import SERVICES, render_validated
from tests.edge.mesh import Edge, eventually, running_edge

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
    table = routes.load_table()
    table["retry_policies"]["reads"]["retry_back_off"]["base_interval"] = "soon"
    monkeypatch.setattr(routes, "load_table", lambda: table)
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
    table = routes.load_table()
    table["cors"]["max_age"] = "60"
    monkeypatch.setattr(routes, "load_table", lambda: table)
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
