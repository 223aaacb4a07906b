"""Routes that need no service: Envoy's own pages, and what it refuses by itself."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

from edge import pages
from edge.contract import Binding

Route = dict[str, Any]

PREFLIGHT: Final[Route] = {
    # What a browser asks before it calls another origin. The cors filter answers it, but only on a route
    # to a cluster.
    "name": "preflight",
    "match": {
        "prefix": "/",
        "headers": [
            {"name": ":method", "string_match": {"exact": "OPTIONS"}},
            {"name": "origin", "present_match": True},
            {"name": "access-control-request-method", "present_match": True},
        ],
    },
    "route": {"cluster": "inner"},
}

UNKNOWN_GRPC: Final[Route] = {
    # No other gRPC method exists here, whatever the services offer to each other.
    "name": "grpc-unknown",
    "match": {"prefix": "/", "grpc": {}},
    "direct_response": {"status": 404, "body": {"inline_string": "the edge has no such gRPC method"}},
}

UNKNOWN_PATH: Final[Route] = {
    "name": "unknown",
    "match": {"prefix": "/"},
    "direct_response": {
        "status": 404,
        "body": {"inline_string": "there is nothing at this path; see /docs"},
    },
}


def own_pages(site: pages.Site) -> list[Route]:
    """Whether the edge lives, the API's description, and the pages for people."""
    alive = {
        "name": "/healthz",
        "match": {"path": "/healthz", "headers": [pages.READS]},
        "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
    }
    routes = [alive, *pages.routes(site)]
    paths = dict.fromkeys(route["match"]["path"] for route in routes if "path" in route["match"])
    return [
        *routes,
        *(_read_only(path) for path in paths),
        {"name": "/docs/", "match": {"path": "/docs/"}, "redirect": {"path_redirect": "/docs"}},
        _by_accept(pages.root(site)),
        _by_accept({**UNKNOWN_PATH, "name": "/ for programs", "match": {"path": "/"}}),
    ]


def _read_only(path: str) -> Route:
    return {
        "name": f"{path} wrong verb",
        "match": {"path": path, "headers": [{**pages.READS, "invert_match": True}]},
        "direct_response": {"status": 405, "body": {"inline_string": "this path takes GET, HEAD only"}},
        "response_headers_to_add": [{"header": {"key": "allow", "value": "GET, HEAD"}}],
    }


def _by_accept(route: Route) -> Route:
    """Tells caches that the answer depends on `accept`."""
    vary = {"header": {"key": "vary", "value": "accept"}}
    return {**route, "response_headers_to_add": [*route.get("response_headers_to_add", ()), vary]}


# Percent-encoded UTF-8 without NUL (RFC 3986, RFC 3629). The transcoder would hand anything else to the
# services, where a text that is not UTF-8 breaks the whole message.
_WELL_FORMED: Final = (
    "([^%]"
    "|%(0[1-9A-F]|[1-7][0-9A-F])"
    "|%(C[2-9A-F]|D[0-9A-F]|E0%[AB][0-9A-F]|E[1-9A-CEF]%[89AB][0-9A-F]|ED%[89][0-9A-F]"
    "|(F0%[9AB][0-9A-F]|F[1-3]%[89AB][0-9A-F]|F4%8[0-9A-F])%[89AB][0-9A-F])%[89AB][0-9A-F])*"
)


def malformed_url() -> Route:
    """Refuses URLs that are not percent-encoded UTF-8."""
    well_formed = {"name": ":path", "string_match": {"safe_regex": {"regex": f"(?i){_WELL_FORMED}"}}}
    return {
        "name": "malformed",
        "match": {"prefix": "/", "headers": [{**well_formed, "invert_match": True}]},
        "direct_response": {
            "status": 400,
            "body": {"inline_string": "the URL is not percent-encoded UTF-8, or has a NUL in it"},
        },
    }


def coded_body(binding: Binding, match: Mapping[str, Any]) -> Route:
    """Refuses a body that is compressed; the answer says what is taken (RFC 9110, 12.5.3)."""
    coding = {"name": "content-encoding"}
    plain = {"safe_regex": {"regex": r"(?i)(identity)?"}}
    headers = [{**coding, "present_match": True}, {**coding, "string_match": plain, "invert_match": True}]
    return {
        "name": f"{binding.verb} {binding.template} compressed",
        "match": {**match, "headers": [*match["headers"], *headers]},
        "direct_response": {
            "status": 415,
            "body": {
                "inline_string": "the body must not be compressed: content-encoding may be identity only"
            },
        },
        "response_headers_to_add": [{"header": {"key": "accept-encoding", "value": "identity"}}],
    }


def no_bearer() -> Route:
    """Refuses an Authorization header that is not one `Bearer TOKEN`, whatever the scheme's case.

    As it would be without any token, its owner would be taken for a stranger and not learn of it.
    """
    header = {"name": "authorization"}
    bearer = {"safe_regex": {"regex": "(?i)bearer +[a-z0-9._~+/=-]+"}}
    return {
        "name": "no bearer",
        "match": {
            "prefix": "/",
            "headers": [
                {**header, "present_match": True},
                {**header, "string_match": bearer, "invert_match": True},
            ],
        },
        "direct_response": {
            "status": 401,
            "body": {
                "inline_string": "the authorization header must be `Bearer TOKEN`, and there must be one only"
            },
        },
        "response_headers_to_add": [
            {"header": {"key": "www-authenticate", "value": 'Bearer error="invalid_request"'}}
        ],
    }


def not_json(binding: Binding, match: Mapping[str, Any]) -> Route:
    """Refuses a body that does not say that it is JSON."""
    return {
        "name": f"{binding.verb} {binding.template} not JSON",
        "match": match,
        "direct_response": {
            "status": 415,
            "body": {"inline_string": "the content-type must be application/json"},
        },
    }


def wrong_verbs(bindings: Iterable[tuple[Binding, bool]]) -> list[Route]:
    """One a path: what is allowed there, for every other verb. Streams (True) have no HEAD."""
    by_path = sorted(bindings, key=lambda binding: binding[0].path_regex)
    found = []
    for _, group in itertools.groupby(by_path, key=lambda binding: binding[0].path_regex):
        pairs = list(group)
        same = [binding for binding, _ in pairs]
        verbs = {binding.verb for binding in same}
        verbs |= {"HEAD" for binding, streams in pairs if binding.verb == "GET" and not streams}
        allowed = ", ".join(sorted(verbs))
        found.append(
            {
                "name": f"{same[0].template} wrong verb",
                "match": path_match(same[0]),
                "direct_response": {
                    "status": 405,
                    "body": {"inline_string": f"this path takes {allowed} only"},
                },
                "response_headers_to_add": [{"header": {"key": "allow", "value": allowed}}],
            }
        )
    return found


def path_match(binding: Binding) -> dict[str, Any]:
    """Matches the paths of a binding."""
    if "{" in binding.template:
        return {"safe_regex": {"regex": binding.path_regex}}
    return {"path": binding.template}


def verb_match(verb: str) -> dict[str, Any]:
    """Matches one HTTP method."""
    return {"name": ":method", "string_match": {"exact": verb}}
