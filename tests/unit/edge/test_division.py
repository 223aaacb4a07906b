"""How calls are divided where something is on trial."""

from itertools import accumulate, pairwise
from typing import Any

import pytest

from edge.division import Trial, divide
from edge.trials import Audience, Canary, Condition, Experiment, Segment

ROUTE: dict[str, Any] = {
    "name": "GET /x",
    "match": {"path": "/x", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
    "route": {"cluster": "ranking_svc"},
    "typed_per_filter_config": {},
}
TWO = Experiment(Audience(50), {"control": 500, "other": 500})


def ranges(route: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """From where to where of the hash each release and variant goes."""
    clusters = route["route"]["weighted_clusters"]["clusters"]
    ends = list(accumulate(each["weight"] for each in clusters))
    found = {}
    for each, end in zip(clusters, ends, strict=True):
        told = {h["header"]["key"]: h["header"]["value"] for h in each.get("request_headers_to_add", ())}
        found[each["name"], told.get("x-marquee-variant", "")] = (end - each["weight"], end)
    return found


def last(trial: Trial) -> dict[str, Any]:
    """The route of those whom no condition tells."""
    return list(divide(ROUTE, trial))[-1]


def test_nothing_on_trial_changes_nothing() -> None:
    assert list(divide(ROUTE, Trial("ranking_svc"))) == [ROUTE]


@pytest.mark.parametrize("percent", [0, 0.1, 1, 33.3, 50, 100])
def test_weights_add_up_to_the_share(percent: float) -> None:
    found = ranges(last(Trial("ranking_svc", Canary(Audience(percent)))))
    whole = max(end for _, end in found.values())
    start, end = found.get(("ranking_svc_canary", ""), (0, 0))
    assert whole == 100_000
    assert (start, end) == (0, round(percent * 1000))


def test_variants_keep_their_users_while_a_release_is_delivered() -> None:
    variants: list[dict[str, tuple[int, int]]] = []
    taken: list[set[tuple[int, int]]] = []
    for percent in (0, 10, 40, 100):
        trial = Trial("ranking_svc", Canary(Audience(percent)), TWO, "ranking-formula")
        found = ranges(last(trial))
        whole: dict[str, tuple[int, int]] = {}
        for (_, variant), (start, end) in found.items():
            known = whole.get(variant, (start, end))
            whole[variant] = (min(known[0], start), max(known[1], end))
        variants.append(whole)
        taken.append({each for (cluster, _), each in found.items() if cluster.endswith("_canary")})
    assert variants == [{"control": (0, 25_000), "other": (25_000, 50_000), "": (50_000, 100_000)}] * 4
    for fewer, more in pairwise(taken):
        assert all(any(a[0] <= b[0] and b[1] <= a[1] for a in more) for b in fewer)


def test_those_of_several_segments_get_the_largest_share() -> None:
    small = Segment((Condition("subject", "starts_with", ("a",)),), 20)
    large = Segment((Condition("tier", "in", ("partner",)),), 80)
    useless = Segment((Condition("subject", "in", ("z",)),), 5)
    trial = Trial("ranking_svc", Canary(Audience(10, (small, large, useless))))
    routes = list(divide(ROUTE, trial))
    percents = [ranges(route).get(("ranking_svc_canary", ""), (0, 0))[1] // 1000 for route in routes]
    assert percents == [100, 0, 80, 20, 10], "those who choose, then by share; no segment below everybody's"
    assert [route["match"]["headers"][-1]["name"] for route in routes] == [
        "marquee-release",
        "marquee-release",
        "x-marquee-tier",
        "x-marquee-subject",
        ":method",
    ]


def test_a_random_share_has_no_memory() -> None:
    route = last(Trial("ranking_svc", Canary(Audience(10, sticky=False))))
    assert "use_hash_policy" not in route["route"]["weighted_clusters"]
    sticky = last(Trial("ranking_svc", Canary(Audience(10))))
    assert sticky["route"]["weighted_clusters"]["use_hash_policy"]


def test_who_is_meant_for_a_variant_gets_it() -> None:
    experiment = Experiment(
        Audience(0), {"control": 1000, "other": 0}, (((Condition("subject", "in", ("ann",)),), "other"),)
    )
    first, everybody = divide(ROUTE, Trial("ranking_svc", None, experiment, "ranking-formula"))
    assert ranges(first) == {("ranking_svc", "other"): (0, 100_000)}
    assert ranges(everybody) == {("ranking_svc", ""): (0, 100_000)}


def test_text_of_a_flag_is_no_regular_expression() -> None:
    tricky = Segment((Condition("subject", "in", ("a.b", "c|d", "(")),), 100)
    route = list(divide(ROUTE, Trial("ranking_svc", Canary(Audience(0, (tricky,))))))[2]
    matcher = route["match"]["headers"][-1]["string_match"]["safe_regex"]["regex"]
    assert matcher == r"(a\.b|c\|d|\()"
