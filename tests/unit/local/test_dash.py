"""`marquee dash`: what it makes of two looks."""

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console

from local.commands import dash

LABELS = ("grpc_type", "grpc_service", "grpc_method")


class Metrics:
    """A process' metrics, as the chassis names them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.handled = Counter(
            "grpc_server_handled_total", "RPCs.", (*LABELS, "grpc_code"), registry=self.registry
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds", "Time.", LABELS, buckets=(0.01, 0.1, 1), registry=self.registry
        )
        self.lag = Gauge(
            "marquee_kafka_consumer_lag_messages",
            "Lag.",
            ("reader", "topic", "partition"),
            registry=self.registry,
        )

    def call(self, seconds: float, code: str = "OK") -> None:
        self.handled.labels("unary", "S", "M", code).inc()
        self.seconds.labels("unary", "S", "M").observe(seconds)

    def read(self) -> dash.Process:
        return dash.read(generate_latest(self.registry).decode())


def shown(before: dash.Process | None, after: dash.Process | None) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    looks = [dash.Look(at, None, {"movie_svc": each}) for at, each in ((10.0, before), (12.0, after))]
    console.print(dash.show(*looks))
    return console.export_text()


def test_rates_and_latencies_are_of_the_time_between_two_looks() -> None:
    metrics = Metrics()
    for _ in range(100):
        metrics.call(0.5)  # long ago
    before = metrics.read()
    for _ in range(18):
        metrics.call(0.005)
    metrics.call(0.05, "Internal")
    metrics.call(0.05, "NotFound")
    metrics.lag.labels("worker", "t", "0").set(3)
    metrics.lag.labels("worker", "t", "1").set(4)
    words = shown(before, metrics.read())
    assert words.splitlines()[-1].split() == ["movie_svc", "10.0", "0.5", "10", "ms", "100", "ms", "0", "7"]


def test_a_process_that_was_started_again_begins_at_nothing() -> None:
    before, after = Metrics(), Metrics()
    for _ in range(50):
        before.call(0.5)
    for _ in range(4):
        after.call(0.005)
    assert shown(before.read(), after.read()).splitlines()[-1].split()[1] == "2.0"


def test_what_does_not_answer_is_named() -> None:
    words = shown(None, None)
    assert "the edge does not answer" in words
    assert "does not answer" in words.splitlines()[-1]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.01), (0.9, 0.1), (1.0, math.inf)])
def test_a_quantile_is_the_bucket_that_holds_it(share: float, expected: float) -> None:
    after = {0.01: 8.0, 0.1: 9.0, math.inf: 10.0}
    assert dash.quantile({}, after, share) == expected
    assert dash.quantile(after, after, share) is None
