"""`python -m edge.controller`: turns feature flags into routes, and delivers new releases step by step.

It only ever replaces the route files; the edge goes on with the last ones while it is away.
"""

import logging
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, start_http_server

from edge import statistics, trials
from edge.delivery import Delivery, DeliveryConfig, Seen
from edge.flag_source import FlagSource, connect
from edge.flags import FlagError, Flags
from edge.live import Routes
from edge.statistics import StatisticsError
from edge.trials import Canary, Trials
from mesh import logs, metrics, switches
from mesh.config import ConfigError, load, setting
from mesh.flag_source import FlagConfig, NoFlags

log = logging.getLogger(__name__)

PERCENT: Final = Gauge(
    "marquee_canary_percent",
    "The share of everybody's calls that goes to a service's new release.",
    ("service",),
)
OUTCOMES: Final = Counter(
    "marquee_canary_outcomes_total",
    "Deliveries that ended, by outcome: promoted or rolled_back (`marquee canary show` says why).",
    ("service", "outcome"),
)
ROLLED_BACK: Final = Gauge(
    "marquee_canary_rolled_back",
    "1 while a service's new release stands rolled back, until its trial ends; `marquee canary show`: why.",
    ("service",),
)
FLAG_FAILURES: Final = Counter(
    "marquee_flag_failures_total",
    "Looks at the flags that failed: unreachable (the last ones stand), refused (a flag says what routes "
    "can't do; the log says what).",
    ("reason",),
)


@dataclass(frozen=True)
class ControllerConfig:
    """What the controller works on."""

    folder: str = setting("MARQUEE_EDGE_DIR", help="the folder that edge.render wrote to")
    admin: str = setting("MARQUEE_EDGE_ADMIN", help="host:port of Envoy's admin page")
    interval_s: float = setting(
        "MARQUEE_EDGE_INTERVAL_S",
        1.0,
        "how often flags and statistics are looked at, in seconds",
        low=0.05,
        high=300,
    )
    metrics_address: str = setting(
        "MARQUEE_METRICS_ADDRESS", "", "host:port of the Prometheus page /metrics; empty for none"
    )


class Controller:
    """Keeps the routes of one edge as flags and deliveries want them."""

    def __init__(self, config: ControllerConfig, delivery: DeliveryConfig, source: FlagSource) -> None:
        self._config = config
        self._delivery = delivery
        self._source = source
        self._folder = Path(config.folder)
        self._routes = Routes(self._folder)
        self._deliveries: dict[str, Delivery] = {}
        self._flags: Flags | None = None
        self._switches = switches.Switchboard(NoFlags(), [switches.EDGE_CACHE])

    def look(self) -> None:
        """One look at everything, and what follows from it."""
        self._read_flags()
        seen = self._read_statistics()
        with trials.changing(self._folder) as now:
            wanted = self._deliver(self._follow_flags(now), seen)
            if wanted != now:
                self._routes.change(wanted)
                self._tell(now, wanted)
        for service in self._routes.services:
            PERCENT.labels(service).set(wanted.shares().get(service, 0.0))
            delivery = wanted.canaries.get(service, Canary()).delivery
            ROLLED_BACK.labels(service).set(delivery.get("phase") == "rolled back")

    def _read_flags(self) -> None:
        try:
            if (found := self._source.changed()) is not None:
                self._flags = found
                self._switches.take(found.features)
        except OSError as error:
            FLAG_FAILURES.labels("unreachable").inc()
            log.warning("flags can't be read, the last ones stand: %s", error)
        except FlagError as error:
            FLAG_FAILURES.labels("refused").inc()
            log.error("%s", error)

    def _read_statistics(self) -> dict[str, Seen]:
        seen = {}
        try:
            for service, canary in trials.load(self._folder).canaries.items():
                if canary.owner == "controller":
                    seen[service] = Seen(*statistics.read(self._config.admin, service))
        except StatisticsError as error:
            log.warning("%s", error)
        return seen

    def _follow_flags(self, now: Trials) -> Trials:
        """What the flags say, where neither an operator nor a delivery stands above them."""
        if self._flags is None:
            return now
        now = replace(now, cache=switches.EDGE_CACHE.on)
        for service in sorted(self._routes.services):
            known = now.canaries.get(service)
            if known is not None and known.owner != "flag":
                continue
            try:
                audience = self._flags.canary(service)
            except FlagError as error:
                FLAG_FAILURES.labels("refused").inc()
                log.error("%s", error)
                continue
            if audience is None:
                now = now.with_canary(service, None)
            elif known is None or known.audience != audience:
                now = now.with_canary(service, replace(known or Canary(), audience=audience, owner="flag"))
        return self._follow_experiments(now, self._flags)

    def _follow_experiments(self, now: Trials, flags: Flags) -> Trials:
        experiments = {}
        for name in sorted(self._routes.experiments):
            known = now.experiments.get(name)
            try:
                wanted = flags.experiment(name)
            except FlagError as error:
                FLAG_FAILURES.labels("refused").inc()
                log.error("%s", error)
                wanted = known
            if wanted is not None:
                experiments[name] = replace(wanted, key=known.key) if known else wanted
        return replace(now, experiments=experiments)

    def _deliver(self, now: Trials, seen: dict[str, Seen]) -> Trials:
        for service, canary in now.canaries.items():
            if canary.owner != "controller" or service not in seen:
                continue
            # A delivery that was started again is judged from the beginning.
            if not canary.delivery or service not in self._deliveries:
                self._deliveries[service] = Delivery(self._delivery, time.monotonic)
            now = now.with_canary(service, self._deliveries[service].look(canary, seen[service]))
        return now

    def _tell(self, before: Trials, after: Trials) -> None:
        for service in sorted(before.canaries.keys() | after.canaries.keys()):
            canary = after.canaries.get(service)
            if canary == before.canaries.get(service):
                continue
            if canary is None:
                log.info("%s: nothing is on trial any more", service)
                continue
            phase, reason = canary.delivery.get("phase", ""), canary.delivery.get("reason", "")
            log.info("%s: %g %% by %s %s %s", service, canary.audience.percent, canary.owner, phase, reason)
            if phase in ("promoted", "rolled back"):
                OUTCOMES.labels(service, phase.replace(" ", "_")).inc()
        if before.experiments != after.experiments:
            log.info("experiments: %s", ", ".join(sorted(after.experiments)) or "none")
        if before.cache != after.cache:
            log.info("the edge keeps %s", "answers" if after.cache else "no answers")


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    logs.init("edge-controller", load(logs.LogConfig))
    try:
        config = load(ControllerConfig)
        delivery = load(DeliveryConfig)
        _ = delivery.percents
        controller = Controller(config, delivery, connect(load(FlagConfig)))
    except (ConfigError, ValueError) as error:
        raise SystemExit(f"edge.controller: {error}") from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics.tell_build("edge-controller")
    if config.metrics_address:
        host, _, port = config.metrics_address.rpartition(":")
        start_http_server(int(port), addr=host)
    while not stop.is_set():
        try:
            controller.look()
        except Exception:
            # Whatever it is, the edge goes on with the routes that it has.
            log.exception("a look failed")
        stop.wait(config.interval_s)


if __name__ == "__main__":
    main()
