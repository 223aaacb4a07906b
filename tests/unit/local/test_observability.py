"""Which processes watch the others, what they read, and who hears of what."""

from pathlib import Path

from local.servers.observability import routing, scraping
from local.stack.layout import Home, Stack
from local.supervision.processes import OBSERVABILITY, select

OBSERVERS = {"prometheus", "alertmanager", "redis-exporter", "index", "shipper", "dash"}


def test_observers_come_only_when_they_are_asked_for_and_beside_all_else() -> None:
    usual = {process.name for process in select([])}
    assert not OBSERVERS & usual
    assert {process.name for process in select([OBSERVABILITY])} == usual | OBSERVERS
    assert {process.name for process in select(["redis", OBSERVABILITY])} == {"redis", *OBSERVERS}


def test_each_instance_of_each_process_is_scraped_under_its_own_name(tmp_path: Path) -> None:
    ports = {
        "movie_svc/grpc": 1,
        "movie_svc/metrics": 2,
        "movie_svc.2/metrics": 3,
        "redis/redis": 4,
        "envoy/admin": 5,
        "prometheus/http": 6,
        "alertmanager/http": 7,
        "redis-exporter/http": 8,
    }
    made = scraping(Stack(Home(tmp_path), ports), "5s")
    found = {
        job["job_name"]: {each["labels"]["instance"]: each["targets"] for each in job["static_configs"]}
        for job in made["scrape_configs"]
    }
    assert found == {
        "movie_svc": {"movie_svc": ["127.0.0.1:2"], "movie_svc.2": ["127.0.0.1:3"]},
        "envoy": {"envoy": ["127.0.0.1:5"]},
        "prometheus": {"prometheus": ["127.0.0.1:6"]},
        "alertmanager": {"alertmanager": ["127.0.0.1:7"]},
        "redis": {"redis": ["127.0.0.1:8"]},
    }
    (redis,) = (job for job in made["scrape_configs"] if job["job_name"] == "redis")
    assert redis["static_configs"][0]["labels"]["__param_target"] == "redis://127.0.0.1:4"
    assert made["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:7"]


def test_without_a_webhook_nobody_is_called() -> None:
    assert "webhook_configs" not in routing("")["receivers"][0]
    (hook,) = routing("http://127.0.0.1:1/hear")["receivers"][0]["webhook_configs"]
    assert hook == {"url": "http://127.0.0.1:1/hear", "send_resolved": True}
