"""When a new release gets more calls, and when it is rolled back."""

import math
import random

import pytest

from edge.delivery import Delivery, DeliveryConfig, Seen, fault, unlikely
from edge.statistics import Sample, parse
from edge.trials import Canary
from tests.support.clock import Clock

CONFIG = DeliveryConfig(bake_s=10, min_calls=100)
BOUNDS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, math.inf)


def sample(calls: int, faults: int = 0, ms: float = 8, slow: int = 0, healthy: int = 1) -> Sample:
    """Calls that all took `ms`, except `slow` ones that took 800 ms."""
    times = [ms] * (calls - slow) + [800.0] * slow
    return Sample(calls, faults, {bound: sum(time <= bound for time in times) for bound in BOUNDS}, healthy)


def test_a_step_needs_its_time_and_its_calls(clock: Clock) -> None:
    delivery = Delivery(CONFIG, clock)
    canary = delivery.look(Canary(owner="controller"), Seen(sample(0), sample(5000)))
    assert canary.audience.percent == 1
    clock.now = 60
    assert delivery.look(canary, Seen(sample(99), sample(9000))) is canary, "too few calls"
    canary = delivery.look(canary, Seen(sample(100), sample(9000)))
    assert canary.audience.percent == 5
    clock.now = 69
    assert delivery.look(canary, Seen(sample(900), sample(9900))) is canary, "too soon"
    for number, percent in enumerate((25, 50, 100, 100), 1):
        clock.now += 11
        canary = delivery.look(canary, Seen(sample(1000 * number), sample(9900)))
        assert canary.audience.percent == percent
    assert canary.delivery["phase"] == "promoted"
    assert delivery.look(canary, Seen(sample(9999, faults=9999), sample(9900))) is canary, "it is over"


def test_a_release_that_is_not_there_is_not_delivered(clock: Clock) -> None:
    waiting = Canary(owner="controller")
    assert Delivery(CONFIG, clock).look(waiting, Seen(sample(0, healthy=0), sample(10))) is waiting


def test_a_step_begins_anew_when_envoy_or_the_controller_does(clock: Clock) -> None:
    first = Delivery(CONFIG, clock)
    canary = first.look(Canary(owner="controller"), Seen(sample(1000), sample(9000)))
    clock.now = 20
    assert first.look(canary, Seen(sample(5, faults=5), sample(10))) is canary, "Envoy counts from zero"
    clock.now = 40
    again = Delivery(CONFIG, clock)
    assert again.look(canary, Seen(sample(5000, faults=5000), sample(9000))) is canary, "of before its time"
    clock.now = 60
    later = again.look(canary, Seen(sample(5200, faults=5000), sample(9900)))
    assert later.audience.percent == 5


@pytest.mark.parametrize(
    ("canary", "stable", "says"),
    [
        (sample(3, faults=3), sample(300), "3 of 3 calls failed"),
        (sample(100, faults=8), sample(10_000), "8 of 100 calls failed"),
        (sample(100, slow=30), sample(10_000), "30 of 100 calls took more than 50 ms"),
        (sample(0, healthy=0), sample(300), "no healthy instance"),
    ],
)
def test_what_is_worse_is_taken_back(canary: Sample, stable: Sample, says: str) -> None:
    assert says in fault(Seen(canary, stable), CONFIG)


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        (sample(10, faults=1), sample(1000)),
        (sample(100, faults=20), sample(1000, faults=200)),  # OMDb is away for both
        (sample(100, slow=3), sample(1000)),
        (sample(100, slow=30), sample(1000, slow=300)),
        (sample(100, slow=100), sample(20)),  # nothing to compare with yet
        (sample(100, ms=40), sample(1000, ms=8)),  # slower, but nobody calls that slow
    ],
)
def test_what_is_as_good_goes_on(canary: Sample, stable: Sample) -> None:
    assert fault(Seen(canary, stable), CONFIG) == ""


def test_a_good_release_is_hardly_ever_taken_back_by_chance() -> None:
    chance = random.Random(3)
    struck = 0
    for _ in range(200):
        faults = 0
        for calls in range(1, 1001):
            faults += chance.random() < 0.01
            if calls % 10 == 0 and fault(Seen(sample(calls, faults), Sample(100_000, 1000)), CONFIG):
                struck += 1
                break
    assert struck <= 2


@pytest.mark.parametrize(("count", "of", "share"), [(3, 3, 0.01), (10, 100, 0.02), (40, 1000, 0.01)])
def test_the_test_is_the_binomial_one(count: int, of: int, share: float) -> None:
    exact = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))
    assert unlikely(count, of, share) == (exact < 1e-4)


def test_steps_must_grow_to_all() -> None:
    for bad in ("5,1,100", "1,5", "0,100", "50,50,100"):
        with pytest.raises(ValueError, match="steps grow"):
            _ = DeliveryConfig(steps=bad).percents


def test_envoys_page_is_read_by_release() -> None:
    page = """# TYPE envoy_cluster_grpc_0 counter
envoy_cluster_grpc_0{envoy_cluster_name="movie_svc_canary"} 4
# TYPE envoy_cluster_grpc_5 counter
envoy_cluster_grpc_5{envoy_cluster_name="movie_svc_canary"} 9
# TYPE envoy_cluster_grpc_13 counter
envoy_cluster_grpc_13{envoy_cluster_name="movie_svc_canary"} 2
# TYPE envoy_cluster_grpc_14 counter
envoy_cluster_grpc_14{envoy_cluster_name="movie_svc_canary"} 1
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="movie_svc_canary_hosts"} 16
envoy_cluster_upstream_rq_total{envoy_cluster_name="movie_svc"} 900
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="movie_svc"} 7
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="movie_svc"} 893
# TYPE envoy_cluster_membership_healthy gauge
envoy_cluster_membership_healthy{envoy_cluster_name="movie_svc_canary_hosts"} 2
envoy_cluster_membership_healthy{envoy_cluster_name="movie_svc"} 3
"""
    canary, stable = parse(page, "movie_svc")
    assert (canary.calls, canary.faults, canary.healthy) == (16, 3, 2), "NOT_FOUND is no fault of a service"
    assert (stable.calls, stable.faults, stable.healthy) == (900, 7, 3)
