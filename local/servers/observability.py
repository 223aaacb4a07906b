"""Prometheus, Alertmanager and Redis' exporter beside the mesh, with the rules of a cluster."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import yaml

from local.servers import probes
from local.stack.child import run_tool
from local.stack.layout import Stack, StackError, cache_folder, checkout, write_private
from local.stack.provision import REDIS_ADMIN

PROMETHEUS: Final = "prometheus"
ALERTMANAGER: Final = "alertmanager"
REDIS_EXPORTER: Final = "redis-exporter"

_FETCHING: Final = asyncio.Lock()
EXPORTER_OPTIONS: Final = (
    # A server that hangs is one of which it says `redis_up 0`, before Prometheus gives up.
    "-connection-timeout=1s",
    "-set-client-name=false",
    "-redis-only-metrics",
)
"""Of Redis' exporter, here and in a cluster."""
_PROGRAMS: Final = ("prometheus", "prometheus-alertmanager", "prometheus-redis-exporter")
_RULES: Final = checkout() / "k8s" / "observability" / "rules"
EDGE_SERIES: Final = (
    r"^(http\.(edge|inner)\.(downstream_rq|downstream_cx_(active|total)|rq_|adaptive|jwt)"
    r"|cluster\.\w+_svc\.(membership|upstream_rq|upstream_cx_(active|connect_fail)|outlier|circuit)"
    r"|edge_route|server\.(live|uptime|memory|days)|dynamicmodulescustom|.*local_rate_limit|.*experiment)"
)
"""Of the edge's 4,000 series, those that rules and people ask for: here and in a cluster."""


def _haste() -> str:
    """How long alerts must last before they fire, for tests: what rules say, if it is empty."""
    return os.environ.get("MARQUEE_ALERTS_FOR", "")


def scrape_interval() -> str:
    """How often Prometheus looks, such as `5s`."""
    return os.environ.get("MARQUEE_SCRAPE_INTERVAL") or "5s"


def prometheus_command(stack: Stack, name: str) -> list[str]:
    return [
        str(_program("prometheus")),
        f"--config.file={stack.home.observability / 'prometheus.yml'}",
        f"--storage.tsdb.path={stack.data / name}",
        "--storage.tsdb.retention.time=7d",
        "--storage.tsdb.retention.size=512MB",
        # From a latency to the trace of a call that took so long.
        "--enable-feature=exemplar-storage",
        f"--web.listen-address={stack.address(name, 'http')}",
        "--log.level=warn",
    ]


def alertmanager_command(stack: Stack, name: str) -> list[str]:
    return [
        str(_program("prometheus-alertmanager")),
        f"--config.file={stack.home.observability / 'alertmanager.yml'}",
        f"--storage.path={stack.data / name}",
        f"--web.listen-address={stack.address(name, 'http')}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]


def exporter_command(stack: Stack, name: str) -> list[str]:
    """One for all servers of Redis: Prometheus says which one it asks for."""
    return [
        str(_program("prometheus-redis-exporter")),
        f"-web.listen-address={stack.address(name, 'http')}",
        f"-redis.addr=redis://{stack.address('redis', 'redis')}",
        f"-redis.user={REDIS_ADMIN}",
        *EXPORTER_OPTIONS,
    ]


def environment(_stack: Stack, name: str) -> dict[str, str]:
    """Go gives memory back in time to stay below this where it can."""
    return {"GOMEMLIMIT": "160MiB" if name == PROMETHEUS else "32MiB"}


def exporter_environment(stack: Stack, name: str) -> dict[str, str]:
    """Not its command line: everybody on the machine can read that."""
    return {**environment(stack, name), "REDIS_PASSWORD": stack.secrets.get(f"redis/{REDIS_ADMIN}")}


async def prepare_exporter(_stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Brings the program."""
    await _fetch(log)


async def exports(stack: Stack, name: str) -> None:
    """It answers; of Redis it may have to say that it is away."""
    await probes.http(stack.port(name, "http"), "/health")


async def prepare_prometheus(stack: Stack, name: str, log: IO[bytes]) -> None:
    """Brings the program, and writes what is scraped and which rules there are."""
    await _fetch(log)
    folder = stack.home.observability
    rules = folder / "rules"
    shutil.rmtree(rules, ignore_errors=True)
    rules.mkdir(parents=True)
    for file in sorted(_RULES.glob("*.yaml")):
        _write(rules / file.name, _quickened(yaml.safe_load(file.read_text())))
    _write(folder / "prometheus.yml", scraping(stack, scrape_interval()))
    (stack.data / name).mkdir(mode=0o700, exist_ok=True)


async def prepare_alertmanager(stack: Stack, name: str, log: IO[bytes]) -> None:
    """Brings the program, and writes who hears of what."""
    await _fetch(log)
    stack.home.observability.mkdir(exist_ok=True)
    for template in _program("prometheus-alertmanager").parent.glob("*.tmpl"):
        shutil.copy(template, stack.home.observability)
    _write(
        stack.home.observability / "alertmanager.yml",
        routing(os.environ.get("MARQUEE_ALERT_WEBHOOK", ""), quick=bool(_haste())),
    )
    (stack.data / name).mkdir(mode=0o700, exist_ok=True)


async def ready(stack: Stack, name: str) -> None:
    """It has read its configuration and answers."""
    await probes.http(stack.port(name, "http"), "/-/ready")


def scraping(stack: Stack, interval: str) -> dict[str, Any]:
    """Prometheus' configuration: every process of the stack that has metrics."""
    jobs: dict[str, list[str]] = {}
    for key in sorted(stack.ports):
        process, _, purpose = key.partition("/")
        if purpose == "metrics" or (process in (PROMETHEUS, ALERTMANAGER) and purpose == "http"):
            jobs.setdefault(process.partition(".")[0], []).append(key)
        elif purpose == "spans":  # Jaeger's counts of them
            jobs.setdefault(purpose, []).append(key)
    configs: list[dict[str, Any]] = [
        {"job_name": job, "static_configs": [_target(stack, key) for key in keys]}
        for job, keys in jobs.items()
    ]
    if "envoy/admin" in stack.ports:
        configs.append(
            {
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "params": {"filter": [EDGE_SERIES]},
                "static_configs": [_target(stack, "envoy/admin")],
            }
        )
    if f"{REDIS_EXPORTER}/http" in stack.ports:
        configs.append(_redis(stack))
    managers = [stack.address(ALERTMANAGER, "http")] if f"{ALERTMANAGER}/http" in stack.ports else []
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["rules/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}]},
        "scrape_configs": configs,
    }


def routing(webhook: str, *, quick: bool = False) -> dict[str, Any]:
    """Alertmanager's configuration. Without a webhook, alerts are only to be seen on its page.

    Tickets are silent while the same thing wakes somebody, and what follows from the loss of a store while
    that loss has an alert of its own.
    """
    receiver: dict[str, Any] = {"name": "operators"}
    if webhook:
        receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
    return {
        "route": {
            "receiver": "operators",
            "group_by": ["alertname", "severity"],
            "group_wait": "1s" if quick else "15s",
            "group_interval": "1s" if quick else "1m",
            "repeat_interval": "4h",
            "routes": [{"matchers": ['severity="none"'], "receiver": "nobody"}],
        },
        "inhibit_rules": [
            {
                "source_matchers": ['severity="page"'],
                "target_matchers": ['severity="ticket"'],
                "equal": ["alertname", "sloth_id"],
            },
            _follows("MarqueePrimaryDown", "postgres"),
            _follows("MarqueeKafkaDown", "kafka"),
            _follows("MarqueeDependencyDown", "redis", 'dependency="redis"'),
        ],
        "receivers": [receiver, {"name": "nobody"}],
    }


def _redis(stack: Stack) -> dict[str, Any]:
    """Each server of Redis, by way of the exporter."""
    exporter = stack.address(REDIS_EXPORTER, "http")
    servers = {name: f"redis://{stack.address(name, 'redis')}" for name in stack.names("redis")}
    return {
        "job_name": "redis",
        "metrics_path": "/scrape",
        "static_configs": [
            {"targets": [exporter], "labels": {"instance": name, "__param_target": server}}
            for name, server in servers.items()
        ],
    }


def _follows(cause: str, store: str, *besides: str) -> dict[str, Any]:
    return {
        "source_matchers": [f'alertname="{cause}"', *besides],
        "target_matchers": [f'follows=~".*{store}.*"'],
    }


def _target(stack: Stack, key: str) -> dict[str, Any]:
    process, _, purpose = key.partition("/")
    return {"targets": [stack.address(process, purpose)], "labels": {"instance": process}}


def _quickened(rules: dict[str, Any]) -> dict[str, Any]:
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule and _haste():
                rule["for"] = _haste()
    return rules


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_private(path, yaml.safe_dump(dict(content), sort_keys=False))


async def _fetch(log: IO[bytes]) -> None:
    async with _FETCHING:  # both are prepared at once
        if all(_program(name).exists() for name in _PROGRAMS):
            return
        if await run_tool([str(checkout() / "scripts" / "prometheus.sh")], log):
            raise StackError(
                "there is no Prometheus, and Debian's packages can't be had: install "
                f"{', '.join(_PROGRAMS)}, or start without --observability"
            )


def _program(name: str) -> Path:
    """The one on PATH, else where Debian's package is or will be unpacked."""
    on_path = shutil.which(name)
    return Path(on_path) if on_path else cache_folder() / "prometheus" / name
