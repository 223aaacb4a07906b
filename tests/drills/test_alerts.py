"""Alerts of what no drill breaks: each fires on a real mesh, reaches the operators, and ends.

What runbooks say to type is typed while it is broken, as for drills.
"""

import asyncio
from dataclasses import dataclass

import pytest

from local.drills.alerts import Alert, Alerts
from tests.drills import breaks
from tests.drills.breaks import Break
from tests.drills.conftest import Mesh
from tests.drills.people import content
from tests.drills.stranger import stranger
from tests.support.command import marquee
from tests.support.runbooks import Follower
from tests.support.waiting import eventually

pytestmark = [pytest.mark.drills, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Case:
    """What is broken, and what operators hear of it."""

    broken: Break
    alerts: tuple[str, ...]
    afterwards: tuple[str, ...] = ()
    """What fires only once it is mended: of what came late."""
    by_hand: tuple[str, ...] = ()
    """Whose runbook ends in steps that the break itself takes when it is mended."""


# The first two are measured by the share of calls that fail or are slow within an hour: before the others.
CASES: dict[str, Case] = {
    "a lock on the relay's turn": Case(
        breaks.turn_taken,
        ("MarqueeRelayIdle", "MarqueeOutboxOld"),
        ("MarqueeRatingsStale", "MarqueeRatingsFreshness"),
    ),
    "a missing grant, stalls, a switch": Case(
        breaks.all_at_once,
        (
            "MarqueeInternalErrors",
            "MarqueeBackgroundTaskFails",
            "MarqueeMovieAvailability",
            "MarqueeRatingAvailability",
            "MarqueeRankingAvailability",
            "MarqueeEdgeAvailability",
            "MarqueeEdgeLatency",
            "MarqueeEventLoopLate",
        ),
    ),
    "a service that is locked out": Case(breaks.locked_out, ("MarqueeDependencyDown",)),
    "a certificate": Case(breaks.nearly_over("rating_svc"), ("MarqueeCertificateExpires",)),
    "the edge's certificate": Case(breaks.nearly_over("edge"), ("MarqueeEdgeCertificateExpires",)),
    "a full Redis": Case(breaks.redis_full, ("MarqueeRedisFull",)),
    "wrong counts": Case(breaks.counted_wrong, ("MarqueeVerifyMismatch",)),
    "no comparison for a week": Case(breaks.not_verified, ("MarqueeVerifyOverdue",)),
    "a lock on rebuilds": Case(breaks.not_rebuilt, ("MarqueeRebuildOverdue",)),
    "a lock on ratings": Case(breaks.nothing_is_stored, ("MarqueeReaderBehind",)),
    "a lock on scores": Case(breaks.locked("ranking_svc.scores"), ("MarqueeChartsOld",)),
    "another release with a wrong clock": Case(
        stranger, ("MarqueeTwoReleases", "MarqueeClockSkew", "MarqueePoolExhausted")
    ),
    "too many dead letters": Case(
        breaks.unreadable, ("MarqueeReaderStopped",), by_hand=("MarqueeReaderStopped",)
    ),
    "a rating that nobody read": Case(breaks.expired, ("MarqueeMessagesExpired",)),
}
SEEN = {alert for case in CASES.values() for alert in (*case.alerts, *case.afterwards)}


@pytest.mark.parametrize("name", CASES)
async def test_alerts_reach_the_operators_and_end(mesh: Mesh, name: str) -> None:
    case = CASES[name]
    every = {*case.alerts, *case.afterwards}
    await eventually(mesh.well, 120, 0.5, what="every part ready")
    # Nobody has compared anything in a new mesh.
    await asyncio.to_thread(marquee, mesh.stack.home, "verify")

    async def quiet() -> bool:
        return every.isdisjoint(await Alerts(mesh.stack).all())

    await eventually(quiet, 300, 0.5, what="quiet")
    mesh.heard.told.clear()
    async with case.broken(mesh.stack):
        for alert in case.alerts:
            await mesh.hears(alert, "firing")
        for alert in case.alerts:
            if alert not in case.by_hand:
                await Follower(mesh.stack, alert).follow()
    for alert in case.afterwards:
        await mesh.hears(alert, "firing")
        await Follower(mesh.stack, alert).follow()
    async with content(mesh.stack):
        for alert in every:
            await mesh.hears(alert, "resolved")
    for alert in every:
        assert all(group["alertname"] == alert for group in mesh.heard.groups_of(alert))
    await eventually(mesh.well, 120, 0.5, what="every part ready")


async def test_alerting_says_all_the_time_that_it_works(mesh: Mesh) -> None:
    """Who receives it raises the alarm when it stops; here nobody does."""

    async def at_work() -> bool:
        return (await Alerts(mesh.stack).all(usual=True))["MarqueeWatchdog"] == Alert("firing", "active")

    await eventually(at_work, 60, 0.5)
    assert "MarqueeWatchdog" not in {alert for alert, _ in mesh.heard.alerts}
