"""Kill switches: optional parts that operators turn off while everything runs, by feature flags.

A switch is off while its flag is there and not enabled; without a flag it is on. It is for all callers or
none: what else a flag says is not for switches, and is named in the log. Code asks `SWITCH.on`, an attribute
in memory; a task of each process looks at the flags every two seconds (`mesh.flag_source`).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import Counter, Gauge

from mesh.errors import MarqueeError, unavailable
from mesh.flag_source import Source
from mesh.metrics import Group

log = logging.getLogger(__name__)

_LOOK_S: Final = 2.0
_RETRY_AFTER_S: Final = 60.0

METRICS: Final = Group()
"""Of each process that has switches."""

ON: Final = Gauge(
    "marquee_switch_on",
    "1 while an optional part is on, 0 while an operator has switched it off by its flag, by switch.",
    ("switch",),
    registry=METRICS,
)
FAILURES: Final = Counter(
    "marquee_switch_failures_total",
    "Looks at the flags of switches that failed: unreachable (all stays as it was), refused (the log says "
    "what of a flag a switch can't do).",
    ("reason",),
    registry=METRICS,
)


class Switch:
    """One optional part."""

    def __init__(self, name: str, without: str) -> None:
        """`without`: what users get while it is off, as a sentence."""
        self.name: Final = name
        self.without: Final = without
        self.on = True
        """Whether the part is on now."""
        self._listeners: list[Callable[[], None]] = []

    def when_turned(self, listener: Callable[[], None]) -> None:
        """Adds what is called when it is turned on or off."""
        self._listeners.append(listener)

    def turn(self, on: bool) -> None:
        ON.labels(self.name).set(on)
        if on == self.on:
            return
        self.on = on
        log.warning("%s is switched %s", self.name, "on" if on else "off")
        for listener in self._listeners:
            listener()

    def refusal(self, what: str) -> MarqueeError:
        """The error of a call that needs it, while it is off: UNAVAILABLE `SWITCHED_OFF`."""
        return unavailable("SWITCHED_OFF", f"{what} is switched off for now", retry_after=_RETRY_AFTER_S)


OMDB_CALLS: Final = Switch(
    "omdb-calls",
    "OMDb is not asked. Known titles are served, however old; others are answered with 503 "
    "`OMDB_UNAVAILABLE`.",
)
OMDB_SEARCH: Final = Switch(
    "omdb-search", "Searches find the titles that are stored here, and do not ask OMDb for more."
)
EARLY_REFRESH: Final = Switch(
    "early-refresh",
    "Titles are read again only once they are over, and OMDb is asked again only for what somebody has read.",
)
TRENDING: Final = Switch(
    "trending", "The trending chart is answered with 503 `SWITCHED_OFF`; all other charts are as always."
)
STREAMS: Final = Switch(
    "streams",
    "Live scores end, and are answered with 503 `SWITCHED_OFF`; the same score can be read as always.",
)
EDGE_CACHE: Final = Switch(
    "edge-cache", "The edge keeps no answers: each call is answered by its service, and is a little slower."
)

SWITCHES: Final = (OMDB_CALLS, OMDB_SEARCH, EARLY_REFRESH, TRENDING, STREAMS, EDGE_CACHE)

Definitions = Mapping[str, Mapping[str, Any]]


def parse(text: str | bytes) -> Definitions:
    """Flags by name, from what Unleash's client API or a file says.

    Raises:
        ValueError: they are none.
    """
    try:
        return {
            str(each["name"]): dict(each, enabled=bool(each["enabled"]))
            for each in json.loads(text)["features"]
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are not Unleash's definitions of flags: {error!r}") from None


class Switchboard:
    """Turns a process's switches as flags say."""

    def __init__(self, source: Source[Definitions], used: Sequence[Switch]) -> None:
        METRICS.export()
        self._source = source
        self._used = tuple(used)
        for switch in self._used:
            ON.labels(switch.name).set(switch.on)

    async def look(self) -> None:
        """Looks once. What can't be read changes nothing."""
        try:
            found = await asyncio.to_thread(self._source.changed)
        except OSError as error:
            FAILURES.labels("unreachable").inc()
            log.info("flags can't be read, switches stay as they are: %s", error)
            return
        except ValueError as error:
            FAILURES.labels("refused").inc()
            log.error("%s", error)
            return
        if found is not None:
            self.take(found)

    async def watch(self) -> None:
        """Looks forever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    def take(self, flags: Definitions) -> None:
        """Turns the switches as these flags say."""
        for switch in self._used:
            flag = flags.get(switch.name)
            if flag is not None and (problem := _problem(flag)):
                FAILURES.labels("refused").inc()
                log.error(
                    "the flag %s says what a switch can't do: %s; it counts as a whole", switch.name, problem
                )
            switch.turn(flag is None or flag["enabled"])


def _problem(flag: Mapping[str, Any]) -> str:
    """What of a flag is meant for some callers only; empty if nothing is."""
    for strategy in flag.get("strategies") or ():
        if strategy.get("constraints") or strategy.get("segments"):
            return "it has constraints"
        if str((strategy.get("parameters") or {}).get("rollout", 100)) != "100":
            return "it is for a share of callers"
    return "it depends on other flags" if flag.get("dependencies") else ""
