"""Who hears of alerts: a webhook that Alertmanager calls, and what came there."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from local.stack.layout import Home, Shape, Stack
from tests.support import stacks
from tests.support.ports import free_port
from tests.support.promtool import programs


@dataclass
class Heard:
    """What operators were told."""

    url: str
    told: list[dict[str, Any]] = field(default_factory=list)
    """Notifications, each about a group of alerts."""

    @property
    def alerts(self) -> list[tuple[str, str]]:
        """Alerts and whether they began or ended: `firing` or `resolved`."""
        return [(each["labels"]["alertname"], each["status"]) for one in self.told for each in one["alerts"]]

    def groups_of(self, alert: str) -> list[dict[str, str]]:
        """By what the notifications that speak of an alert were grouped."""
        return [
            one["groupLabels"]
            for one in self.told
            if any(each["labels"]["alertname"] == alert for each in one["alerts"])
        ]


@contextlib.asynccontextmanager
async def watched(
    home: Home, scrape_interval: str, only: Sequence[str] = (), shape: Shape = Shape.PLAIN
) -> AsyncIterator[tuple[Stack, Heard]]:
    """A mesh, or `only` these of its processes, with all that watches it, in which a condition must last a
    second before its alert fires.

    Skips where there is no Prometheus.
    """
    if programs() is None:
        pytest.skip("there is no Prometheus, and Debian's packages can't be had")
    async with hearing() as heard:
        environment = {
            "MARQUEE_ALERT_WEBHOOK": heard.url,
            "MARQUEE_ALERTS_FOR": "1s",
            "MARQUEE_SCRAPE_INTERVAL": scrape_interval,
        }
        async with stacks.started(home, [*only, "observability"], environment, shape) as stack:
            yield stack, heard


@contextlib.asynccontextmanager
async def hearing() -> AsyncIterator[Heard]:
    """Listens; `Heard.url` is for MARQUEE_ALERT_WEBHOOK."""
    port = free_port()
    heard = Heard(f"http://127.0.0.1:{port}/alerts")

    async def hear(request: web.Request) -> web.Response:
        heard.told.append(await request.json())
        return web.Response()

    application = web.Application()
    application.router.add_post("/alerts", hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield heard
    finally:
        await runner.cleanup()
