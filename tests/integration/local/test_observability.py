"""Prometheus and Alertmanager beside the real mesh: what breaks is heard of, and its end too."""

import asyncio
import contextlib
import itertools
import json
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from local.stack.layout import Home, Stack, checkout
from mesh.kafka import KafkaConfig, KafkaProducer
from mesh.tasks import end
from rating_svc import topics
from tests.support import hearing
from tests.support.hearing import Heard
from tests.support.parts import hung, pid_of
from tests.support.promtool import promtool
from tests.support.waiting import eventually

METRICS = checkout() / "k8s" / "observability" / "metrics"
# Of one metric of one process: methods, codes and buckets are few, and nothing is named by its users.
MOST_SERIES = 500
RULES = checkout() / "k8s" / "observability" / "rules"
SERVICES = {
    "movie_svc": {"marquee_omdb_breaker_state", "marquee_movie_outbox_oldest_seconds"},
    "rating_svc": {"marquee_rating_submitted_total"},
    "rating_svc-worker": {"marquee_rating_stored_seconds", "marquee_dead_letters_waiting"},
    "rating_svc-relay": {"marquee_rating_relay_active", "marquee_rating_outbox_oldest_seconds"},
    "ranking_svc": {"marquee_ranking_chart_age_seconds", "marquee_ranking_last_verify_timestamp_seconds"},
    "ranking_svc-consumer": {"marquee_ranking_submit_to_aggregate_seconds"},
}
# What is stopped, and what must be heard of it.
BREAKS = [
    ("redis", "MarqueeDependencyDown"),
    ("postgres", "MarqueePrimaryDown"),
    ("postgres-replica", "MarqueeReplicaDown"),
    ("kafka", "MarqueeKafkaDown"),
    ("ranking_svc", "MarqueeServiceUnreachable"),
    ("rating_svc-worker", "MarqueeTargetDown"),
    ("envoy", "MarqueeTargetDown"),
]


async def read(stack: Stack, process: str, purpose: str, path: str) -> str:
    url = f"http://{stack.address(process, purpose)}{path}"
    answer = await asyncio.to_thread(urllib.request.urlopen, url, None, 10)
    return str(answer.read().decode())


class Watched:
    """A whole mesh with its observers, and what its operators heard."""

    def __init__(self, stack: Stack, heard: Heard) -> None:
        self.stack = stack
        self.heard = heard

    async def ask(self, what: str, process: str = "prometheus", **query: str) -> Any:
        path = f"/api/{what}?{urllib.parse.urlencode(query)}"
        return json.loads(await read(self.stack, process, "http", path))

    async def quiet(self) -> bool:
        """Whether nothing fires that wakes somebody or may not be seen."""
        found = (await self.ask("v1/alerts"))["data"]["alerts"]
        firing = {one["labels"]["alertname"] for one in found if one["state"] == "firing"}
        # Nobody has compared anything in this mesh yet.
        return firing <= {"MarqueeWatchdog", "MarqueeVerifyOverdue"}

    async def hears_of(self, part: str, alert: str) -> None:
        """Stops a part, and sees its alert reach the operators; lets it go on, and sees that they hear so."""
        await eventually(self.quiet, 90, 0.5, what="quiet")
        self.heard.told.clear()
        with hung(pid_of(self.stack, part)):
            await eventually(
                lambda: (alert, "firing") in self.heard.alerts, 90, 0.2, what=f"{alert} of {part}"
            )
        await eventually(
            lambda: (alert, "resolved") in self.heard.alerts, 90, 0.2, what=f"the end of {alert}"
        )


@pytest.fixture(scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with hearing.watched(Home(Path(tmp_path_factory.mktemp("watched"))), "1s") as (stack, heard):
        yield Watched(stack, heard)


async def test_every_process_is_scraped_and_every_rule_can_be_read(watched: Watched) -> None:
    async def all_up() -> bool:
        targets = (await watched.ask("v1/targets"))["data"]["activeTargets"]
        return {each["labels"]["job"] for each in targets if each["health"] == "up"} == {
            *SERVICES,
            "edge-controller",
            "envoy",
            "prometheus",
            "alertmanager",
            "redis",
        }

    await eventually(all_up, 120, 0.2)
    groups = (await watched.ask("v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 100
    assert not [rule["name"] for rule in rules if rule["health"] == "err"]


def undeclared(process: str, page: str) -> None:
    """Fails where a process exports what the list of metrics does not have, or without a bound."""
    package = "edge" if process == "edge-controller" else process.partition("-")[0]
    known = {}
    for name in ("mesh", package):
        known |= yaml.safe_load((METRICS / f"{name}.yaml").read_text())
    for family in text_string_to_metric_families(page):
        if family.name.startswith(("python_", "process_")):
            continue  # of the client library
        assert family.name in known, f"{process} exports {family.name}: run `make docs`"
        assert family.type == known[family.name]["type"], family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(known[family.name]["labels"]), family.name
        assert len(family.samples) < MOST_SERIES, f"{process}: {family.name}"


async def test_each_process_exports_its_own_metrics_by_the_conventions(watched: Watched) -> None:
    pages = {}
    for process in (*SERVICES, "edge-controller"):
        page = await read(watched.stack, process, "metrics", "/metrics")
        await asyncio.to_thread(promtool, "check", "metrics", given=page)
        pages[process] = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
        assert "_created" not in page
        assert "marquee_build_info" in pages[process]
        undeclared(process, page)
    for process, own in SERVICES.items():
        assert own <= pages[process], process
        for other in SERVICES.keys() - {process}:
            assert not own & pages[other], f"{other} exports what is {process}'s"


async def test_the_edge_and_redis_export_what_rules_ask_them_for(watched: Watched) -> None:
    asked = {
        name
        for file in RULES.glob("*.yaml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        for name in re.findall(r"\b(?:envoy|redis)_\w+", re.sub(r"\{[^{}]*\}|by \([^)]*\)", "", rule["expr"]))
    }
    assert {name.partition("_")[0] for name in asked} == {"envoy", "redis"}

    async def missing() -> set[str]:
        return {name for name in asked if not (await watched.ask("v1/query", query=name))["data"]["result"]}

    async def complete() -> bool:
        # Histograms are empty before the first call.
        await read(watched.stack, "envoy", "edge", "/readyz")
        return not await missing()

    await eventually(complete, 120, 0.5)


async def test_a_part_that_is_stopped_is_heard_of_and_its_return_too(watched: Watched) -> None:
    await watched.hears_of(*BREAKS[0])


@pytest.mark.slow
@pytest.mark.parametrize(("part", "alert"), BREAKS[1:], ids=[part for part, _ in BREAKS[1:]])
async def test_each_part_that_is_stopped_is_heard_of(watched: Watched, part: str, alert: str) -> None:
    await watched.hears_of(part, alert)


@pytest.mark.slow
async def test_what_follows_from_a_lost_store_is_silent_while_the_loss_is_heard(
    watched: Watched,
) -> None:
    await eventually(watched.quiet, 90, 0.5)
    watched.heard.told.clear()

    async def inhibited() -> set[str]:
        found = await watched.ask("v2/alerts", "alertmanager")
        return {one["labels"]["alertname"] for one in found if one["status"]["inhibitedBy"]}

    with hung(pid_of(watched.stack, "postgres")):
        await eventually(lambda: ("MarqueePrimaryDown", "firing") in watched.heard.alerts, 90, 0.2)
        silent = await eventually(inhibited, 90, 0.2)
    assert "MarqueePrimaryDown" not in silent
    await eventually(lambda: ("MarqueePrimaryDown", "resolved") in watched.heard.alerts, 90, 0.2)


@pytest.mark.slow
async def test_omdb_that_hangs_while_unknown_titles_are_asked_for_is_heard_of(watched: Watched) -> None:
    async def ask() -> None:
        """A new title each time: what was not found is remembered."""
        for number in itertools.count(9_000_000):
            with contextlib.suppress(OSError):
                await read(watched.stack, "envoy", "edge", f"/v1/movies/tt{number}")

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        await watched.hears_of("omdb", "MarqueeBreakerOpen")
    finally:
        await end(asking)


@pytest.mark.slow
async def test_a_message_that_nobody_can_read_is_heard_of(watched: Watched) -> None:
    """The last one: such a letter stays."""
    producer = KafkaProducer(KafkaConfig(bootstrap=watched.stack.kafka_bootstrap))
    await producer.send(topics.SUBMITTED, b"key", b"no message at all")
    await producer.close()
    await eventually(lambda: ("MarqueeDeadLetters", "firing") in watched.heard.alerts, 90, 0.2)
