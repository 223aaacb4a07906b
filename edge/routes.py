"""The edge's routes, made from the contract's HTTP bindings and `envoy/routes.yaml`."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge import (
    compression,
    deprecation,
    direct,
    division,
    envoy_module,
    limits,
    pages,
    policies,
    queries,
    shedding,
    template,
)
from edge.contract import Binding, Method
from edge.policies import Policy
from edge.trials import Trials

_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http"


# Not `response_headers_to_add`: that changes an answer before the transcoder sees it.
_JSON_LINES: Final = {
    "@type": f"{_TYPE}.header_mutation.v3.HeaderMutationPerRoute",
    "mutations": {
        "response_mutations": [
            {
                "append": {
                    "header": {"key": "content-type", "value": "application/x-ndjson"},
                    "append_action": "OVERWRITE_IF_EXISTS",
                }
            }
        ]
    },
}


# Of a single answer the status says it all; a stream's end is told by its trailers alone.
_NO_TRAILERS: Final = {
    "@type": f"{_TYPE}.header_mutation.v3.HeaderMutationPerRoute",
    "mutations": {
        "response_trailers_mutations": [
            {"remove": name} for name in ("grpc-status", "grpc-message", "grpc-status-details-bin")
        ]
    },
}


_HOST: Final = "marquee"


def route_configuration(
    methods: Iterable[Method],
    table: Mapping[str, Any],
    site: pages.Site,
    folder: Path,
    trials: Trials = policies.NOTHING_ON_TRIAL,
) -> dict[str, Any]:
    """The RouteConfiguration `edge`: gRPC calls first, then JSON, then what answers everything else.

    `site` is what people see, `folder` where Envoy finds its files, `trials` what is on trial.

    Raises:
        ValueError: a public RPC has no class in `envoy/routes.yaml`, or a class there has no RPC.
    """
    all_policies = policies.of(methods, table, trials)
    routes = [
        direct.PREFLIGHT,
        *direct.own_pages(site),
        direct.no_bearer(),
        *itertools.chain.from_iterable(
            division.divide(route, policy.trial)
            for policy in all_policies
            for route in _grpc_routes(policy, table)
        ),
        direct.UNKNOWN_GRPC,
        direct.malformed_url(),
        *queries.refusals(policy.method for policy in all_policies),
        *itertools.chain.from_iterable(_json_routes(policy, table, folder) for policy in all_policies),
        *direct.wrong_verbs(
            (binding, policy.method.server_streaming)
            for policy in all_policies
            for binding in policy.method.bindings
        ),
        direct.UNKNOWN_PATH,
    ]
    if not trials.cache:
        for route in routes:
            route.get("typed_per_filter_config", {}).pop("cache", None)
    configuration = _configuration("edge", routes)
    configuration["virtual_hosts"][0]["typed_per_filter_config"] = {"cors": table["cors"]}
    return configuration


def inner_route_configuration(methods: Iterable[Method], table: Mapping[str, Any]) -> dict[str, Any]:
    """The RouteConfiguration `inner`: the second hop of calls whose answers may be cached."""
    routes = [
        route
        for policy in policies.of(methods, table)
        for binding in policy.method.bindings
        if _is_cached(policy, binding)
        for route in _with_partial(policy, _json_route(policy, binding, table, (*_TRANSCODING, "late")))
    ]
    for route in routes:
        # What must not depend on who asks is not told who does.
        route["request_headers_to_remove"] = [
            limits.SUBJECT_HEADER,
            limits.TIER_HEADER,
            limits.SCOPES_HEADER,
            division.RELEASE_HEADER,
        ]
    return _configuration("inner", [each for route in routes for each in division.inner_routes(route)])


_TRANSCODING: Final = ("errors", "tidy", "transcoder")


def _configuration(name: str, routes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "max_direct_response_body_size_bytes": pages.LARGEST_BYTES,
        "virtual_hosts": [{"name": "marquee", "domains": ["*"], "routes": routes}],
    }


def _is_cached(policy: Policy, binding: Binding) -> bool:
    return bool(policy.settings.get("cache")) and binding.verb == "GET"


def _grpc_routes(policy: Policy, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The route of gRPC calls, and the one of gRPC-Web, which knows no streams of requests."""
    route = _grpc_route(policy, table)
    yield route
    if not policy.method.client_streaming:
        web = copy.deepcopy(route)
        web["name"] = f"grpc-web {policy.method.service}.{policy.method.name}"
        # Envoy chooses the route before its filter makes gRPC of the call.
        web["match"] = {"path": policy.method.grpc_path, "headers": [_IS_GRPC_WEB]}
        web["typed_per_filter_config"]["grpc_web"] = template.ENABLED
        yield web


_IS_GRPC_WEB: Final = {
    "name": "content-type",
    "string_match": {"safe_regex": {"regex": r"application/grpc-web(-text)?(\+proto)?"}},
}


def _grpc_route(policy: Policy, table: Mapping[str, Any]) -> dict[str, Any]:
    filters = ["rate_limit"] if policy.method.client_streaming else ["rate_limit", "body_size"]
    if shedder := shedding.name(policy.cluster, policy.settings):
        filters += ["buffer", shedder]
    route = _route(policy, table, filters)
    route["name"] = f"grpc {policy.method.service}.{policy.method.name}"
    route["match"] = {"path": policy.method.grpc_path, "grpc": {}}
    if "timeout" in policy.settings:
        # The caller's own deadline counts if it is sooner, and reaches the service either way.
        bound = policy.settings["timeout"]
        route["route"]["max_stream_duration"] = {
            "max_stream_duration": bound,
            "grpc_timeout_header_max": bound,
        }
    return route


def _json_routes(policy: Policy, table: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for binding in policy.method.bindings:
        if _is_cached(policy, binding):
            for route in _cached_routes(policy, binding, table):
                found.extend(division.divide(route, policy.trial))
            continue
        route = _json_route(policy, binding, table, (*_TRANSCODING, "rate_limit", "body_size"))
        own: list[dict[str, Any]] = []
        refusals = []
        if binding.verb == "GET" and not policy.method.server_streaming:
            own.append(_for_head(route))
        own += _with_partial(policy, route)
        if binding.body:
            found.append(direct.coded_body(binding, route["match"]))
            refusals.append(direct.not_json(binding, route["match"]))
            route["match"] = {**route["match"], "headers": [direct.verb_match(binding.verb), _IS_JSON]}
            route["typed_per_filter_config"]["fields"] = envoy_module.for_route(
                folder, "fields", policy.method.fields
            )
        found.extend(itertools.chain.from_iterable(division.divide(each, policy.trial) for each in own))
        found.extend(refusals)
    return found


def _cached_routes(policy: Policy, binding: Binding, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first hop of a call whose answer is the same for everybody; HEAD first."""
    route = _route(policy, table, ("tidy", "rate_limit", "release", "cache", "body_size"))
    route["typed_per_filter_config"].update({**compression.BEFORE_THE_CACHE, "tidy": _NO_TRAILERS})
    route["name"] = f"{binding.verb} {binding.template}"
    route["match"] = {**direct.path_match(binding), "headers": [direct.verb_match(binding.verb)]}
    # The second hop retries, and answers in time even when the service does not.
    route["route"] = {
        "cluster": division.INNER,
        "host_rewrite_literal": _HOST,
        "timeout": f"{_seconds(policy.settings['timeout']) + 1:g}s",
    }
    return [_for_head(route), route]


def _with_partial(policy: Policy, route: dict[str, Any]) -> list[dict[str, Any]]:
    """The route, and before it the one for those who ask for some fields only, if the RPC lets them."""
    mask = queries.has_mask(policy.method)
    if mask is None:
        return [route]
    partial = copy.deepcopy(route)
    partial["match"]["headers"].append(mask)
    del partial["typed_per_filter_config"]["transcoder"]
    partial["typed_per_filter_config"]["transcoder_partial"] = template.ENABLED
    return [partial, route]


def _for_head(route: Mapping[str, Any]) -> dict[str, Any]:
    """The same for HEAD: asked for as GET, answered without the body."""
    head: dict[str, Any] = copy.deepcopy(dict(route))
    head["match"]["headers"][0] = direct.verb_match("HEAD")
    head["typed_per_filter_config"] |= {"bodiless": template.ENABLED, **compression.DISABLED}
    return head


def _json_route(
    policy: Policy, binding: Binding, table: Mapping[str, Any], filters: Iterable[str]
) -> dict[str, Any]:
    shedder = shedding.name(policy.cluster, policy.settings)
    route = _route(policy, table, (*filters, shedder) if shedder else filters)
    route["name"] = f"{binding.verb} {binding.template}"
    route["match"] = {**direct.path_match(binding), "headers": [direct.verb_match(binding.verb)]}
    if "timeout" in policy.settings:
        timeout, upload = _seconds(policy.settings["timeout"]), _seconds(policy.settings["upload"])
        route["route"]["max_stream_duration"] = {"max_stream_duration": f"{timeout + upload:g}s"}
        deadline = {"key": "grpc-timeout", "value": f"{timeout * 1000:g}m"}
        route["request_headers_to_add"] = [
            {"header": deadline, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ]
    route["typed_per_filter_config"]["tidy"] = _JSON_LINES if policy.method.server_streaming else _NO_TRAILERS
    return route


_IS_JSON: Final = {
    "name": "content-type",
    "string_match": {"safe_regex": {"regex": r"(?i)application/json\s*(;.*)?"}},
}


def _route(policy: Policy, table: Mapping[str, Any], filters: Iterable[str]) -> dict[str, Any]:
    settings = policy.settings
    # An empty Host would break the second hop; no service has a use for a client's.
    action: dict[str, Any] = {"cluster": policy.cluster, "host_rewrite_literal": _HOST}
    if "timeout" in settings:
        action["timeout"] = settings["timeout"]
    else:
        action["timeout"] = "0s"
        # Nothing may happen for as long.
        action["idle_timeout"] = settings["lasts"]
        action["max_stream_duration"] = {"max_stream_duration": settings["lasts"]}
        # Nothing comes sooner by it: it is what gives streams a breaker of their own.
        action["priority"] = "HIGH"
    if "retry" in settings:
        action["retry_policy"] = dict(table["retry_policies"][settings["retry"]])
        if "try" in settings:
            action["retry_policy"]["per_try_timeout"] = settings["try"]
    # Who calls is known only after the first look at the routes: what depends on it is looked up again.
    requirement = f"{policy.token}_then_route" if policy.trial.any else policy.token
    return {
        "route": action,
        "metadata": limits.route_metadata(settings["limit"]),
        "typed_per_filter_config": {
            "jwt": {"@type": f"{_TYPE}.jwt_authn.v3.PerRouteConfig", "requirement_name": requirement},
            **dict.fromkeys(filters, template.ENABLED),
            **({"answers": deprecation.per_route(policy.deprecated)} if policy.deprecated else {}),
        },
    }


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
