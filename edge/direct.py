"""Routes that need no service: Envoy's own pages, and what it refuses by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge.contract import Binding

Route = dict[str, Any]

LARGEST_PAGE_BYTES = 262144

PREFLIGHT: Route = {
    # What a browser asks before it calls another origin. The cors filter answers it, but only on a route
    # to a cluster.
    "name": "preflight",
    "match": {
        "safe_regex": {"regex": r"/(v1/|marquee\.).*"},
        "headers": [
            {"name": ":method", "string_match": {"exact": "OPTIONS"}},
            {"name": "origin", "present_match": True},
            {"name": "access-control-request-method", "present_match": True},
        ],
    },
    "route": {"cluster": "inner"},
}

UNKNOWN_GRPC: Route = {
    # No other gRPC method exists here, whatever the services offer to each other.
    "name": "grpc-unknown",
    "match": {"prefix": "/", "grpc": {}},
    "direct_response": {"status": 404, "body": {"inline_string": "the edge has no such gRPC method"}},
}

UNKNOWN_PATH: Route = {
    "name": "unknown",
    "match": {"prefix": "/"},
    "direct_response": {
        "status": 404,
        "body": {"inline_string": "there is nothing at this path; see /docs"},
    },
}


def own_pages(pages: Path) -> list[Route]:
    """Whether the edge lives, and the API's description and its page from the folder `pages`."""
    alive = {
        "name": "healthz",
        "match": {"path": "/healthz"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
    }
    return [alive, *(_page(path, pages / file, content_type) for path, file, content_type in _PAGES)]


_PAGES = (
    ("/openapi.json", "openapi.json", "application/json"),
    ("/docs", "index.html", "text/html; charset=utf-8"),
    ("/docs/docs.js", "docs.js", "text/javascript; charset=utf-8"),
    ("/docs/docs.css", "docs.css", "text/css; charset=utf-8"),
)
_PAGE_HEADERS = {
    "cache-control": "public, max-age=300",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def _page(path: str, file: Path, content_type: str) -> dict[str, Any]:
    headers = {"content-type": content_type, **_PAGE_HEADERS}
    return {
        "name": path,
        "match": {"path": path, "headers": [verb_match("GET")]},
        "direct_response": {"status": 200, "body": {"filename": str(file)}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }


# Percent-encoded UTF-8 without NUL (RFC 3986, RFC 3629). The transcoder would hand anything else to the
# services, where a text that is not UTF-8 breaks the whole message.
_WELL_FORMED = (
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
