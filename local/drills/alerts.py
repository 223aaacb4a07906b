"""What the Prometheus and the Alertmanager of a stack say of an alert."""

import asyncio
import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from local.stack.layout import Stack, StackError

_TIMEOUT_S: Final = 5.0
# Fires always, or says nothing about parts that are broken.
_USUAL: Final = frozenset({"MarqueeWatchdog"})


@dataclass(frozen=True)
class Alert:
    """An alert as it stands now."""

    state: str = ""
    """`pending`, `firing`, or empty."""
    heard: str = ""
    """At Alertmanager: `active`, `suppressed` (its cause has an alert of its own), or empty."""


@dataclass(frozen=True)
class Alerts:
    """Asks both."""

    stack: Stack

    async def lasts_s(self, alert: str) -> float:
        """How long the condition of an alert must hold before it fires, in seconds.

        Raises:
            StackError: there is no such rule, or Prometheus does not answer.
        """
        found = await self._ask("prometheus", "v1/rules?type=alert")
        for group in found["data"]["groups"]:
            for rule in group["rules"]:
                if rule["name"] == alert:
                    return float(rule["duration"])
        raise StackError(
            f"Prometheus has no rule {alert}: start the mesh again with `marquee up --observability`"
        )

    async def value(self, query: str) -> float | None:
        """The first value of a query; None if it has none.

        Raises:
            StackError: Prometheus does not answer.
        """
        found = await self._ask("prometheus", f"v1/query?{urllib.parse.urlencode({'query': query})}")
        results = found["data"]["result"]
        return float(results[0]["value"][1]) if results else None

    async def all(self, *, usual: bool = False) -> dict[str, Alert]:
        """Every alert that is pending, fires or is heard of, by name; with those that fire always if `usual`.

        Raises:
            StackError: one of them does not answer.
        """
        told = await self._ask("prometheus", "v1/alerts")
        states: dict[str, str] = {}
        for each in told["data"]["alerts"]:
            name, state = each["labels"]["alertname"], each["state"]
            states[name] = state if states.get(name) != "firing" else "firing"
        heard: dict[str, str] = {}
        for each in await self._ask("alertmanager", "v2/alerts"):
            name, state = each["labels"]["alertname"], each["status"]["state"]
            heard[name] = state if heard.get(name) != "active" else "active"
        names = (states.keys() | heard.keys()) - (frozenset() if usual else _USUAL)
        return {name: Alert(states.get(name, ""), heard.get(name, "")) for name in sorted(names)}

    async def of(self, alert: str) -> Alert:
        """One alert.

        Raises:
            StackError: one of them does not answer.
        """
        return (await self.all()).get(alert, Alert())

    async def _ask(self, process: str, path: str) -> Any:
        url = f"http://{self.stack.address(process, 'http')}/api/{path}"
        try:
            return json.loads(await asyncio.to_thread(_read, url))
        except (OSError, ValueError) as error:
            raise StackError(f"{process} does not answer, see `marquee status`: {error}") from error


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - of this machine
        content: bytes = answer.read()
    return content
