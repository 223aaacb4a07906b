"""What watches the mesh in a cluster, and what operators change there, is as on one machine."""

from pathlib import Path

import pytest
import yaml

from edge.tracing import EdgeTraceConfig
from k8s import manifests
from k8s.manifests import OVERLAYS, Object
from mesh import switches
from mesh.config import load
from mesh.flag_source import FlagConfig
from mesh.log_levels import parse
from mesh.logs import LogConfig
from mesh.tracing import TraceConfig
from tests.support.overlays import MIGRATE, containers, each_overlay, given, program

JAEGER = Path(__file__).resolve().parents[3] / "k8s" / "observability" / "jaeger.yaml"
each_large = pytest.mark.parametrize("overlay", OVERLAYS[1:])


@each_overlay
def test_each_process_that_has_switches_finds_flags_and_levels_in_its_files(
    overlay: str, given_secrets: list[Object], tmp_path: Path
) -> None:
    environment = given(overlay, given_secrets)
    found = []
    for image in ("marquee", "marquee-edge"):
        for name, pod, container in containers(overlay, image):
            program_of_edge = container.get("args", [""])[0] == "edge.controller"
            if not program_of_edge and (
                image == "marquee-edge"
                or container["args"] == ["mesh.provision"]
                or program(container)[1] is MIGRATE
            ):
                continue
            folder = tmp_path / name.replace("/", "-")
            environment.write_files(pod, container, folder)
            variables = environment.environment(container)
            flags = folder / load(FlagConfig, variables).file.lstrip("/")
            assert switches.parse(flags.read_bytes()) == {}, name
            levels = folder / load(LogConfig, variables).levels_file.lstrip("/")
            assert parse(levels.read_text()) == ({}, []), name
            # A whole folder: a single file of a ConfigMap is never brought up to date in a pod.
            assert [each["mountPath"] for each in container["volumeMounts"] if "subPath" in each] == []
            found.append(name)
    assert len(found) > 6


@each_large
def test_jaeger_is_configured_as_on_one_machine_and_spans_go_there(
    overlay: str, given_secrets: list[Object], tmp_path: Path
) -> None:
    environment = given(overlay, given_secrets)
    [(_, pod, jaeger)] = containers(overlay, "jaeger")
    environment.write_files(pod, jaeger, tmp_path)
    option, file = jaeger["args"]
    assert option == "--config"
    assert (tmp_path / file.lstrip("/")).read_text() == JAEGER.read_text()
    ports = {port["name"]: port["containerPort"] for port in jaeger["ports"]}
    for purpose, port in ports.items():
        assert f"JAEGER_{purpose.upper()}_PORT:-{port}}}" in JAEGER.read_text()
    [service] = [each for each in manifests.render(overlay) if manifests.name(each) == "Service/jaeger"]
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}.items() <= ports.items()
    endpoint = f"http://jaeger:{ports['otlp']}"
    for name, _, container in containers(overlay, "marquee"):
        if container["args"] != ["mesh.provision"]:
            assert load(TraceConfig, environment.environment(container)).endpoint == endpoint, name
    for name, _, container in containers(overlay, "marquee-edge"):
        if container.get("args", [""])[0] == "edge.render":
            assert load(EdgeTraceConfig, environment.environment(container)).endpoint == endpoint, name


@each_large
def test_each_server_of_redis_tells_of_itself_where_prometheus_asks(overlay: str) -> None:
    exporters = list(containers(overlay, "redis_exporter"))
    assert len(exporters) == 1
    [(name, pod, exporter)] = exporters
    assert "redis" in name
    assert [each["name"] for each in pod["containers"]] == ["redis", "exporter"]
    [monitor] = [each for each in manifests.render(overlay) if manifests.name(each) == "PodMonitor/redis"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in exporter["ports"]}


def test_the_first_stage_needs_no_image_of_a_registry() -> None:
    """It starts on a laptop's cluster with what `make images` has built."""
    used = {
        container["image"]
        for _, pod in manifests.pods(manifests.render("early"))
        for container in [*pod.get("initContainers", ()), *pod["containers"]]
    }
    assert all(image.startswith("localhost/marquee") for image in used)
    assert yaml.safe_load(JAEGER.read_text())["service"]["pipelines"]
