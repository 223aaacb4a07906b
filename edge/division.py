"""How the routes of a service with something on trial divide its calls.

Envoy's weighted clusters pick by a hash of who calls, so that a user stays where they are; the entries of new
releases come first, so that a growing share only adds users. Nothing but the route files changes.
"""

import copy
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from edge import limits
from edge.trials import Audience, Canary, Condition, Experiment
from edge.upstreams import canary_of

RELEASE_FILTER: Final = "release"
INNER: Final = "inner"

# What a caller may say. `marquee-release: canary` (or `stable`) chooses a release that is on trial,
# `marquee-client` names an anonymous client, so that it stays with one release and variant.
CHOICE_HEADER: Final = "marquee-release"
CLIENT_HEADER: Final = "marquee-client"

# What the edge says, to its second hop and to the services.
RELEASE_HEADER: Final = "x-marquee-release"
EXPERIMENT_HEADER: Final = "x-marquee-experiment"
VARIANT_HEADER: Final = "x-marquee-variant"

CANARY: Final = "canary"
STABLE: Final = "stable"

_WHOLE: Final = 100_000
_MUTATION: Final = (
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
)
# No parameter of the API has such a name, and the transcoder, which refuses what it does not know, must not
# see it.
_KEY_PARAMETER: Final = "~"
_WITHOUT_KEY: Final = {
    "@type": _MUTATION,
    "mutations": {"query_parameter_mutations": [{"remove": _KEY_PARAMETER}]},
}
_HEADERS: Final = {"subject": limits.SUBJECT_HEADER, "tier": limits.TIER_HEADER}


@dataclass(frozen=True)
class Trial:
    """What is on trial for one RPC."""

    service: str
    """Its cluster, such as `movie_svc`."""
    canary: Canary | None = None
    experiment: Experiment | None = None
    experiment_name: str = ""

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return self.canary is not None or self.experiment is not None


@dataclass(frozen=True)
class _Arm:
    release: str
    variant: str
    weight: int


@dataclass(frozen=True)
class _Case:
    """Callers that some headers tell, and what they get."""

    headers: tuple[dict[str, Any], ...]
    percent: float
    variant: str = ""
    """The one variant that they get whatever the weights."""


def divide(route: dict[str, Any], trial: Trial) -> Iterator[dict[str, Any]]:
    """The routes that stand for `route` while this is on trial, those with more conditions first."""
    if not trial.any:
        yield route
        return
    for by_canary, by_experiment in itertools.product(_canary_cases(trial), _experiment_cases(trial)):
        divided = copy.deepcopy(route)
        headers = [*by_canary.headers, *by_experiment.headers]
        if headers:
            divided["match"]["headers"] = [*divided["match"].get("headers", ()), *headers]
        action = divided["route"]
        cluster = action.pop("cluster")
        entries = [
            _entry(arm, cluster, trial)
            for arm in _arms(by_canary.percent, by_experiment, trial)
            if arm.weight
        ]
        action["weighted_clusters"] = {"clusters": entries}
        if trial.experiment is not None or (trial.canary and trial.canary.audience.sticky):
            action["weighted_clusters"]["use_hash_policy"] = True
            action["hash_policy"] = list(_who(trial))
        yield divided


def inner_routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The second hop's routes for `route`: the first hop has chosen the release and the variant."""
    on_trial = copy.deepcopy(route)
    on_trial["typed_per_filter_config"]["tidy"] = _WITHOUT_KEY
    canary = copy.deepcopy(on_trial)
    canary["match"]["headers"].append({"name": RELEASE_HEADER, "string_match": {"exact": CANARY}})
    canary["route"]["cluster"] = canary_of(route["route"]["cluster"])
    canary["response_headers_to_add"] = [_header(RELEASE_HEADER, CANARY)]
    variant = on_trial
    variant["match"]["headers"].append({"name": VARIANT_HEADER, "present_match": True})
    yield from (canary, variant, route)


def _canary_cases(trial: Trial) -> Iterator[_Case]:
    if trial.canary is None:
        yield _Case((), 0)
        return
    for choice, percent in ((CANARY, 100.0), (STABLE, 0.0)):
        yield _Case(({"name": CHOICE_HEADER, "string_match": {"exact": choice}},), percent)
    yield from _cases(trial.canary.audience)


def _experiment_cases(trial: Trial) -> Iterator[_Case]:
    if trial.experiment is None:
        yield _Case((), 0)
        return
    for conditions, variant in trial.experiment.overrides:
        yield _Case(tuple(map(_match, conditions)), 100, variant)
    yield from _cases(trial.experiment.audience)


def _cases(audience: Audience) -> Iterator[_Case]:
    """The largest share first: who belongs to several segments is taken if any of them takes them."""
    for segment in sorted(audience.segments, key=lambda each: -each.percent):
        if segment.percent > audience.percent:
            yield _Case(tuple(map(_match, segment.conditions)), segment.percent)
    yield _Case((), audience.percent)


def _match(condition: Condition) -> dict[str, Any]:
    values = "|".join(re.escape(value) for value in condition.values)
    regex = {
        "in": f"({values})",
        "starts_with": f"({values}).*",
        "ends_with": f".*({values})",
        "contains": f".*({values}).*",
    }[condition.operator]
    if condition.ignore_case:
        regex = f"(?i){regex}"
    matcher: dict[str, Any] = {
        "name": _HEADERS[condition.attribute],
        "string_match": {"safe_regex": {"regex": regex}},
    }
    if condition.inverted:
        # Who has no name is not one of those named either.
        matcher.update(invert_match=True, treat_missing_header_as_empty=True)
    return matcher


def _arms(percent: float, case: _Case, trial: Trial) -> Iterator[_Arm]:
    for variant, weight in _variants(case, trial):
        trying = round(weight * percent / 100)
        yield _Arm(CANARY, variant, trying)
        yield _Arm(STABLE, variant, weight - trying)


def _variants(case: _Case, trial: Trial) -> Iterator[tuple[str, int]]:
    """Each variant with its part of the whole; "" for taking no part."""
    if trial.experiment is None or case.variant:
        yield case.variant, _WHOLE
        return
    left = taking_part = round(_WHOLE * case.percent / 100)
    total = sum(trial.experiment.variants.values())
    for name, weight in trial.experiment.variants.items():
        part = min(left, round(taking_part * weight / total))
        left -= part
        yield name, part
    yield "", _WHOLE - taking_part + left


def _entry(arm: _Arm, cluster: str, trial: Trial) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": cluster, "weight": arm.weight}
    if cluster == INNER:
        entry["typed_per_filter_config"] = {RELEASE_FILTER: _keyed(arm, trial)}
        return entry
    if told := _told(arm, trial):
        entry["request_headers_to_add"] = [_header(name, value) for name, value in told.items()]
    if arm.release == CANARY:
        entry["name"] = canary_of(cluster)
        entry["response_headers_to_add"] = [_header(RELEASE_HEADER, CANARY)]
    return entry


def _told(arm: _Arm, trial: Trial) -> dict[str, str]:
    return {EXPERIMENT_HEADER: trial.experiment_name, VARIANT_HEADER: arm.variant} if arm.variant else {}


def _keyed(arm: _Arm, trial: Trial) -> dict[str, Any]:
    """What the filter before the cache does.

    The query is part of the cache's key: answers of one release or variant are never taken for another's, nor
    for those of an earlier trial, since nobody can guess the key.
    """
    keys = []
    if arm.release == CANARY and trial.canary is not None:
        keys.append(trial.canary.key)
    if arm.variant and trial.experiment is not None:
        keys.append(f"{trial.experiment.key}.{arm.variant}")
    headers = {RELEASE_HEADER: arm.release, **_told(arm, trial)}
    mutations: dict[str, Any] = {
        "request_mutations": [{"append": _header(name, value)} for name, value in headers.items()]
    }
    if keys:
        record = {"key": _KEY_PARAMETER, "value": ".".join(keys)}
        append = {"record": record, "action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        mutations["query_parameter_mutations"] = [{"append": append}]
    return {"@type": _MUTATION, "mutations": mutations}


def _who(trial: Trial) -> Iterator[dict[str, Any]]:
    # Salted, so that not always the same users are the first to try what is new.
    salt = trial.experiment_name or trial.service
    for header in (limits.SUBJECT_HEADER, CLIENT_HEADER):
        rewrite = {"pattern": {"regex": "^(.*)$"}, "substitution": rf"{salt}:\1"}
        yield {"header": {"header_name": header, "regex_rewrite": rewrite}, "terminal": True}
    if trial.experiment is not None:
        yield {"connection_properties": {"source_ip": True}}


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
