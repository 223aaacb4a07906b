"""The arithmetic of what a stage needs, and whether the stages give it."""

import dataclasses
import math

import pytest

from k8s import manifests, workloads
from k8s.capacity.model import Assumed, Measured, Stage, plan
from k8s.capacity.page import PAGE, made, plans
from k8s.manifests import Object
from mesh.services import SERVICES, Role, Service
from tests.support.overlays import cores_of, most_pods

MEASURED = Measured(
    made="by nobody",
    cpu_us={
        "movie": {"envoy": 100.0},
        "rate": {"envoy": 300.0, "kafka": 500.0, "postgres": 250.0, "postgres-proxy": 0.0, "etcd": 1.0},
    },
    memory_mib={"envoy": 512.0, "kafka": 1024.0, "postgres": 1024.0, "postgres-proxy": 64.0, "etcd": 64.0},
    row_bytes=200.0,
    log_bytes=100.0,
    movie_bytes=0.0,
)
STAGE = Stage(
    "some",
    users=864_000,
    movies=10,
    copies={"postgres": 2, "kafka": 3, "redis": 1},
    databases=2,
    servers=2,
    memory_gib={"kafka": 2.0},
)
ASSUMED = Assumed(
    requests_a_user=100,
    peak=2,
    busy=0.5,
    new_ratings=0.5,
    years=1,
    mix={"movie": 3, "rate": 1},
    price={"core_hour": 1.0, "gib_hour": 0.0, "gib_month": 0.0},
    stages=[STAGE],
)


def test_what_a_stage_needs_is_cost_times_traffic() -> None:
    found = plan(STAGE, MEASURED, ASSUMED, log_s=86_400)
    assert (found.mean, found.peak) == (1000, 2000)
    # (3 · 100 + 300) / 4 = 150 µs · 2,000 a second = 0.3 cores; a pod of Envoy may use two of its four.
    assert found.of("envoy").cores == pytest.approx(0.3)
    assert found.of("envoy").pods == 2
    assert found.of("kafka").cores == pytest.approx(0.25)
    assert (found.of("kafka").pods, found.of("kafka").memory_gib) == (3, 6.0)
    # Two databases with two copies each, and four poolers each. Kubernetes itself stands for etcd.
    assert (found.of("postgres").pods, found.of("postgres").memory_gib) == (4, 4.0)
    assert found.of("postgres-proxy").pods == 8
    assert "etcd" not in {need.process for need in found.needs}
    assert found.ratings_a_day == 21_600_000
    assert found.log_gib == pytest.approx(21_600_000 * 100 * 3 / 2**30)
    assert found.rows_gib == pytest.approx(21_600_000 * 0.5 * 365 * 200 / 2**30)
    assert found.busy_cores == pytest.approx(0.3 + 0.25 + 0.125)
    assert found.dollars == pytest.approx(found.busy_cores * 2 * 730)


def test_a_process_that_has_more_to_do_than_one_can_gets_more_pods() -> None:
    busy = dataclasses.replace(STAGE, users=STAGE.users * 100)
    found = plan(busy, MEASURED, ASSUMED, log_s=86_400)
    assert found.of("envoy").cores == pytest.approx(30)
    assert found.of("envoy").pods == 15


def test_the_page_is_as_the_measurements_and_assumptions_make_it() -> None:
    assert PAGE.read_text() == made(), "run `python -m k8s.capacity`"


def test_the_largest_stage_lets_its_autoscalers_start_as_many_pods_as_its_peak_needs() -> None:
    """By CPU time a pod is full at 70 % of what it requests; by lag, at all of it: see the partitions."""
    last = plans(Measured.read(), Assumed.read())[-1]
    pods = {
        workload["metadata"]["name"]: pod for workload, pod in manifests.pods(manifests.render("scale-up"))
    }
    process = {workloads.name(service, role): service.process(role) for service, role in roles()}
    process["edge"] = "envoy"
    wanted = {}
    most = most_pods(last.stage.name)
    for name in most:
        first = pods[name]["containers"][0]
        requested = cores_of(first["resources"]["requests"]["cpu"])
        full = 1.0 if name in ("rating-worker", "ranking-consumer") else 0.7
        wanted[name] = math.ceil(last.of(process[name]).cores / (full * requested))
    assert len(wanted) >= 5
    assert {name: count for name, count in wanted.items() if count > most[name]} == {}


@pytest.mark.parametrize("stage", Assumed.read().stages, ids=lambda stage: stage.name)
def test_a_stage_is_counted_with_the_stores_that_it_has(stage: Stage) -> None:
    kinds: dict[str, list[Object]] = {}
    for each in manifests.render(stage.name):
        kinds.setdefault(each["kind"], []).append(each)
    redis = next(each for each in kinds["StatefulSet"] if each["metadata"]["name"] in ("redis", "redis-ha"))
    clusters, brokers = kinds.get("Cluster", []), kinds.get("KafkaNodePool", [])
    found = {
        "postgres": clusters[0]["spec"]["instances"] if clusters else 1,
        "kafka": brokers[0]["spec"]["replicas"] if brokers else 1,
        "redis": redis["spec"]["replicas"],
    }
    assert stage.copies == found
    assert stage.databases == (len(clusters) or 1)
    sized = {"postgres": clusters, "kafka": brokers, "redis": [redis] if stage.copies["redis"] > 1 else []}
    assert stage.memory_gib == {name: gib(each[0]) for name, each in sized.items() if each}


def gib(store: Object) -> float:
    """The memory that each server of a store requests."""
    spec = store["spec"]
    if "template" in spec:
        [spec] = [each for each in spec["template"]["spec"]["containers"] if each["name"] == "redis"]
    amount = str(spec["resources"]["requests"]["memory"])
    return float(amount[:-2]) / (1024 if amount.endswith("Mi") else 1)


def roles() -> list[tuple[Service, Role]]:
    return [(service, role) for service in SERVICES for role in service.roles]
