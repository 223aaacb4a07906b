"""Feature flags as Unleash defines them, translated into what the routes can decide.

A flag named `canary-SERVICE` is a new release's audience; one named like an experiment is that experiment.
The definitions are those of Unleash's client API (https://docs.getunleash.io/api-overview): a local file and
a server hold the same. What of a flag depends on the caller becomes conditions and shares in the routes; what
does not (dates, the environment) is decided here, by Unleash's own engine.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from yggdrasil_engine.engine import UnleashEngine

from edge.trials import Attribute, Audience, Condition, Experiment, Operator, Segment

CANARY_PREFIX: Final = "canary-"

# What the edge knows of a caller, by the name that a flag calls it.
_CALLER: Final[Mapping[str, Attribute]] = {"userId": "subject", "tier": "tier"}
_OPERATORS: Final[Mapping[str, tuple[Operator, bool]]] = {
    "IN": ("in", False),
    "NOT_IN": ("in", True),
    "STR_STARTS_WITH": ("starts_with", False),
    "STR_ENDS_WITH": ("ends_with", False),
    "STR_CONTAINS": ("contains", False),
}
_SHARES: Final = {
    "flexibleRollout": "rollout",
    "gradualRolloutUserId": "percentage",
    "gradualRolloutSessionId": "percentage",
    "gradualRolloutRandom": "percentage",
}
_HAS_NAME: Final = Condition("subject", "starts_with", ("",))


class FlagError(ValueError):
    """A flag says something that routes can't do; the message says what."""


@dataclass(frozen=True)
class Environment:
    """What flags may ask about that is the same for all callers."""

    app_name: str = "marquee-edge"
    environment: str = "default"


@dataclass(frozen=True)
class Flags:
    """All flags as they were at one moment."""

    features: Mapping[str, Mapping[str, Any]]
    segments: Mapping[int, Sequence[Mapping[str, Any]]]
    environment: Environment = Environment()

    @staticmethod
    def parse(text: str | bytes, environment: Environment | None = None) -> "Flags":
        """Reads the answer of Unleash's `/api/client/features`, or a file like it.

        Raises:
            FlagError: it is not like that.
        """
        try:
            given = json.loads(text)
            features = {each["name"]: each for each in given["features"]}
            segments = {each["id"]: each["constraints"] for each in given.get("segments", ())}
        except (ValueError, KeyError, TypeError) as error:
            raise FlagError(f"these are not Unleash's definitions of flags: {error!r}") from None
        return Flags(features, segments, environment or Environment())

    def canary(self, service: str) -> Audience | None:
        """Who gets the new release of a service; None if no flag decides on that.

        Raises:
            FlagError: the flag says what routes can't do.
        """
        feature = self.features.get(CANARY_PREFIX + service)
        return None if feature is None else self._audience(feature)

    def experiment(self, name: str) -> Experiment | None:
        """An experiment; None if nobody takes part in it.

        Raises:
            FlagError: the flag says what routes can't do.
        """
        feature = self.features.get(name)
        if feature is None or not feature["enabled"]:
            return None
        variants = self._variants(feature)
        if not variants:
            raise FlagError(f"{name}: it has no variants")
        audience = self._audience(feature)
        if not audience.percent and not audience.segments:
            return None
        overrides = tuple(
            ((_condition(name, {**override, "operator": "IN"}),), each["name"])
            for each in variants
            for override in each.get("overrides") or ()
        )
        return Experiment(audience, {each["name"]: each["weight"] for each in variants}, overrides)

    def _audience(self, feature: Mapping[str, Any]) -> Audience:
        name = feature["name"]
        if feature.get("dependencies"):
            raise FlagError(f"{name}: it depends on other flags, which routes can't decide")
        if not feature["enabled"]:
            return Audience()
        strategies = feature.get("strategies") or ()
        if not strategies:
            return Audience(100.0)
        segments = [found for each in strategies for found in self._segments(name, each)]
        everybody = max((each.percent for each in segments if not each.conditions), default=0.0)
        random = bool(strategies) and all(map(_is_random, strategies))
        return Audience(everybody, tuple(each for each in segments if each.conditions), sticky=not random)

    def _segments(self, name: str, strategy: Mapping[str, Any]) -> Iterator[Segment]:
        """Whom one strategy takes: any of a flag's strategies is enough."""
        constraints = list(strategy.get("constraints") or ())
        for segment in strategy.get("segments") or ():
            if segment not in self.segments:
                raise FlagError(f"{name}: it speaks of the segment {segment}, which is not there")
            constraints += self.segments[segment]
        by_caller = [each for each in constraints if each["contextName"] in _CALLER]
        by_moment = [each for each in constraints if each["contextName"] not in _CALLER]
        if not self._hold(by_moment):
            return
        conditions = [_condition(name, each) for each in by_caller]
        percent, more = _share(name, strategy)
        yield Segment((*conditions, *more), percent)

    def _hold(self, constraints: Sequence[Mapping[str, Any]]) -> bool:
        """Whether constraints hold that have nothing to do with the caller."""
        if not constraints:
            return True
        strategy = {"name": "default", "parameters": {}, "constraints": list(constraints)}
        feature = {"name": "asked", "type": "release", "enabled": True, "strategies": [strategy]}
        engine = UnleashEngine()
        engine.take_state(json.dumps({"version": 2, "features": [feature]}))
        context = {"appName": self.environment.app_name, "environment": self.environment.environment}
        return bool(engine.check_enabled("asked", context).is_enabled)

    def _variants(self, feature: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The variants of the flag's strategies, which must agree, or else its own."""
        of_strategies = [each["variants"] for each in feature.get("strategies") or () if each.get("variants")]
        if any(_weights(each) != _weights(of_strategies[0]) for each in of_strategies):
            raise FlagError(f"{feature['name']}: its strategies have different variants")
        found: Sequence[Mapping[str, Any]] = (
            of_strategies[0] if of_strategies else feature.get("variants") or ()
        )
        return found


def _share(name: str, strategy: Mapping[str, Any]) -> tuple[float, tuple[Condition, ...]]:
    """What share of those whom the constraints let through, and what else must be true of them."""
    kind, parameters = strategy["name"], strategy.get("parameters") or {}
    if kind == "default":
        return 100.0, ()
    if kind == "userWithId":
        users = [user.strip() for user in parameters.get("userIds", "").split(",") if user.strip()]
        return 100.0, (Condition("subject", "in", tuple(users)),)
    if kind in _SHARES:
        percent = float(parameters.get(_SHARES[kind], 100))
        if not 0 <= percent <= 100:
            raise FlagError(f"{name}: {percent:g} is no percentage")
        by_user = kind == "gradualRolloutUserId" or parameters.get("stickiness") == "userId"
        return percent, (_HAS_NAME,) if by_user else ()
    raise FlagError(f"{name}: the edge does not know the strategy {kind!r}")


def _is_random(strategy: Mapping[str, Any]) -> bool:
    parameters = strategy.get("parameters") or {}
    return strategy["name"] == "gradualRolloutRandom" or parameters.get("stickiness") == "random"


def _condition(name: str, constraint: Mapping[str, Any]) -> Condition:
    attribute, operator = _CALLER.get(constraint["contextName"]), constraint["operator"]
    if attribute is None or operator not in _OPERATORS:
        raise FlagError(f"{name}: the edge can't decide {constraint['contextName']} {operator}")
    known, inverted = _OPERATORS[operator]
    values = constraint.get("values") or ([constraint["value"]] if constraint.get("value") else [])
    return Condition(
        attribute,
        known,
        tuple(values),
        inverted=inverted != bool(constraint.get("inverted")),
        ignore_case=bool(constraint.get("caseInsensitive")) and known != "in",
    )


def _weights(variants: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return {each["name"]: each["weight"] for each in variants}
