"""Flags mean at the edge what Unleash's own engine says they mean."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from yggdrasil_engine.engine import UnleashEngine

from edge.flags import FlagError, Flags
from edge.trials import Audience, Condition

USERS = [f"user-{number}" for number in range(400)] + ["ann", "bob", "Ann"]
CALLERS = [*({"userId": user, "properties": {"tier": "free"}} for user in USERS), {"properties": {}}]
CALLERS += [{"userId": user, "properties": {"tier": "partner"}} for user in USERS[:200]]


def flag(*strategies: Mapping[str, Any], enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "name": "canary-movie_svc",
        "type": "release",
        "enabled": enabled,
        "strategies": list(strategies),
        **more,
    }


def strategy(kind: str = "default", *constraints: Mapping[str, Any], **parameters: str) -> dict[str, Any]:
    return {"name": kind, "parameters": parameters, "constraints": list(constraints)}


def constraint(field: str, operator: str, *values: str, **more: Any) -> dict[str, Any]:
    return {"contextName": field, "operator": operator, "values": list(values), **more}


def rollout(percent: int, stickiness: str = "default", *constraints: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {"rollout": str(percent), "stickiness": stickiness, "groupId": "movie_svc"}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": list(constraints)}


def document(feature: Mapping[str, Any], **more: Any) -> str:
    return json.dumps({"version": 2, "features": [feature], **more})


def holds(condition: Condition, caller: Mapping[str, Any]) -> bool:
    value = caller.get("userId") if condition.attribute == "subject" else caller["properties"].get("tier")
    shape = {"in": "(%s)", "starts_with": "(%s).*", "ends_with": ".*(%s)", "contains": ".*(%s).*"}
    regex = shape[condition.operator] % "|".join(map(re.escape, condition.values))
    found = re.fullmatch(regex, value or "", re.IGNORECASE if condition.ignore_case else 0) is not None
    if value is None and not condition.inverted:
        return False
    return found != condition.inverted


def share(audience: Audience, caller: Mapping[str, Any]) -> float:
    fitting = [
        each.percent for each in audience.segments if all(holds(one, caller) for one in each.conditions)
    ]
    return max([audience.percent, *fitting])


EXACT = {
    "off": flag(strategy(), enabled=False),
    "on for all": flag(strategy()),
    "no strategies": flag(),
    "user ids": flag(strategy("userWithId", userIds="ann, bob,")),
    "constraint in": flag(strategy("default", constraint("userId", "IN", "ann", "user-7"))),
    "constraint not in": flag(strategy("default", constraint("userId", "NOT_IN", "ann", "user-7"))),
    "inverted": flag(strategy("default", constraint("userId", "IN", "ann", inverted=True))),
    "starts with": flag(strategy("default", constraint("userId", "STR_STARTS_WITH", "user-1", "a"))),
    "ends with, any case": flag(
        strategy("default", constraint("userId", "STR_ENDS_WITH", "NN", "9", caseInsensitive=True))
    ),
    "does not contain": flag(strategy("default", constraint("userId", "STR_CONTAINS", "1", inverted=True))),
    "custom field": flag(strategy("default", constraint("tier", "IN", "partner"))),
    "both": flag(
        strategy("default", constraint("tier", "IN", "partner"), constraint("userId", "STR_CONTAINS", "3"))
    ),
    "either": flag(
        strategy("default", constraint("tier", "IN", "partner")), strategy("userWithId", userIds="user-5")
    ),
    "another environment": flag(strategy("default", constraint("environment", "IN", "production"))),
    "this environment": flag(strategy("default", constraint("environment", "IN", "default"))),
    "not yet": flag(
        strategy("default", {**constraint("currentTime", "DATE_AFTER"), "value": "2199-01-01T00:00:00Z"})
    ),
    "since then": flag(
        strategy("default", {**constraint("currentTime", "DATE_AFTER"), "value": "2019-01-01T00:00:00Z"})
    ),
    "rollout of none": flag(rollout(0)),
    "rollout of all who have a name": flag(rollout(100, "userId")),
    "a segment of Unleash's": flag({**strategy(), "segments": [3]}),
}
SEGMENTS = [{"id": 3, "constraints": [constraint("tier", "IN", "partner")]}]


@pytest.mark.parametrize("name", EXACT)
def test_who_is_taken_is_who_unleash_takes(name: str) -> None:
    text = document(EXACT[name], segments=SEGMENTS)
    engine = UnleashEngine()
    engine.take_state(text)
    audience = Flags.parse(text).canary("movie_svc")
    assert audience is not None
    for caller in CALLERS:
        context = {**caller, "appName": "marquee-edge", "environment": "default"}  # type: ignore[dict-item]
        taken = engine.check_enabled("canary-movie_svc", context).is_enabled
        assert share(audience, caller) == (100 if taken else 0), caller


@pytest.mark.parametrize("percent", [1, 20, 50, 90])
def test_as_many_are_taken_as_unleash_takes(percent: int) -> None:
    feature = flag(rollout(percent), rollout(100, "default", constraint("tier", "IN", "partner")))
    engine = UnleashEngine()
    engine.take_state(document(feature))
    audience = Flags.parse(document(feature)).canary("movie_svc")
    assert audience is not None
    assert audience.percent == percent
    assert audience.sticky
    contexts = [{"userId": f"someone-{number}"} for number in range(4000)]
    taken = sum(engine.check_enabled("canary-movie_svc", each).is_enabled for each in contexts)
    assert abs(taken / len(contexts) * 100 - audience.percent) < 3


def test_random_rollouts_do_not_stick() -> None:
    audience = Flags.parse(document(flag(rollout(30, "random")))).canary("movie_svc")
    assert audience == Audience(30, sticky=False)


def variants(**weights: int) -> list[dict[str, Any]]:
    return [{"name": name, "weight": weight, "stickiness": "default"} for name, weight in weights.items()]


def test_variants_have_unleashs_weights_and_overrides() -> None:
    made = variants(control=500, many=300, few=200)
    made[2]["overrides"] = [{"contextName": "userId", "values": ["ann"]}]
    feature = {**flag(rollout(80)), "name": "ranking-formula", "variants": made}
    found = Flags.parse(document(feature)).experiment("ranking-formula")
    assert found is not None
    assert found.audience.percent == 80
    assert found.variants == {"control": 500, "many": 300, "few": 200}
    assert found.overrides == (((Condition("subject", "in", ("ann",)),), "few"),)
    engine = UnleashEngine()
    engine.take_state(document({**feature, "strategies": [rollout(100)]}))
    assert engine.check_variant("ranking-formula", {"userId": "ann"}).variant.name == "few"


def test_variants_of_a_strategy_count_before_the_flags_own() -> None:
    made = {**rollout(100), "variants": variants(a=1000)}
    feature = {**flag(made), "name": "ranking-formula", "variants": variants(b=1000)}
    found = Flags.parse(document(feature)).experiment("ranking-formula")
    assert found is not None
    assert found.variants == {"a": 1000}


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        (flag(strategy("remoteAddress", IPs="10.0.0.1")), "does not know the strategy 'remoteAddress'"),
        (
            flag(strategy("default", {**constraint("userId", "NUM_GT"), "value": "3"})),
            "can't decide userId NUM_GT",
        ),
        (flag(rollout(101)), "101 is no percentage"),
        (flag(strategy(), dependencies=[{"feature": "other"}]), "depends on other flags"),
        (flag({**strategy(), "segments": [9]}), "the segment 9, which is not there"),
    ],
)
def test_what_routes_can_not_do_is_refused(feature: dict[str, Any], says: str) -> None:
    with pytest.raises(FlagError, match=re.escape(says)):
        Flags.parse(document(feature)).canary("movie_svc")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"features": [{}]}'])
def test_what_are_no_flags_is_refused(text: str) -> None:
    with pytest.raises(FlagError, match="not Unleash's definitions"):
        Flags.parse(text)
