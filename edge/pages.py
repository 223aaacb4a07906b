"""What people see at the edge: the page for those who watch films, and the API reference.

Both are bundled from `page/` when Marquee is installed (`page_build`). Envoy serves them itself, as direct
responses: assets have names that never come back with other content, and lie there compressed. Where they
could not be bundled, one page says so, and the API works without them.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge import files, page_build
from edge.issuer import IssuerConfig

Route = dict[str, Any]

FOLDER: Final = "pages"
"""Beside the routes."""

LARGEST_BYTES: Final = 4 * 2**20
"""Of one file; Envoy holds them in its memory."""

READS: Final = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}

VIEWS: Final = "/(charts|search|ratings|sign-in|films/tt[0-9]{7,9})"
"""The paths that the page for people shows something at, besides /."""

_UNBUILT: Final = "unbuilt.html"
_PAGE: Final = "index.html"
_REFERENCE: Final = "docs.html"
_SETTINGS: Final = "pages.json"
_HTML: Final = "text/html; charset=utf-8"
_WANTS_HTML: Final = {"name": "accept", "string_match": {"safe_regex": {"regex": r"(?i).*text/html.*"}}}
_CODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_FOR_MINUTES: Final = "public, max-age=300"
_FOR_GOOD: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Site:
    """What there is to serve."""

    folder: Path
    """Where Envoy finds the files."""
    assets: Sequence[Mapping[str, str]] = ()
    """`file` and `type` (a content type) of each, as the bundler has written them; none if it never ran."""
    origins: str = ""
    """Where the page may go to sign people in, besides the edge itself: `https://HOST …`."""


def write(out: Path, config: IssuerConfig) -> None:
    """Puts the pages into `out`, and beside them what the routes need to know of them."""
    out.mkdir(exist_ok=True)
    files.replace(out / _UNBUILT, (page_build.SOURCES / _UNBUILT).read_text())
    made = page_build.folder()
    assets: list[dict[str, str]] = []
    if made is not None:
        assets = json.loads((made / page_build.MANIFEST).read_text())["assets"]
        for file in made.iterdir():
            files.replace_bytes(out / file.name, file.read_bytes())
        page = (made / _PAGE).read_text().replace("@SIGN_IN@", html.escape(_sign_in(config)))
        files.replace(out / _PAGE, page)
    settings = {"assets": assets, "origins": _origins(config)}
    files.replace(out / _SETTINGS, json.dumps(settings, indent=1) + "\n")


def load(out: Path, folder: Path) -> Site:
    """What `write` has put into `out`, which Envoy finds at `folder`."""
    try:
        settings = json.loads((out / _SETTINGS).read_text())
    except FileNotFoundError:  # written by a release before
        return Site(folder)
    return Site(folder, settings["assets"], settings["origins"])


def routes(site: Site) -> list[Route]:
    """The routes of all pages but `/`, which is a page for those who want HTML only: see `root`."""
    described = _file(site, "openapi.json", "application/json", "/openapi.json")
    if not site.assets:
        return [described, _file(site, _UNBUILT, _HTML, "/docs")]
    found = [described, _file(site, _REFERENCE, _HTML, "/docs")]
    views = _file(site, _PAGE, _HTML, "/views")
    views["match"] = {"safe_regex": {"regex": VIEWS}, "headers": [READS]}
    found.append(views)
    for asset in site.assets:
        found += _asset(site, asset["file"], asset["type"])
    return found


def root(site: Site) -> Route:
    """The page at `/`, for those who want HTML."""
    page = _file(site, _PAGE if site.assets else _UNBUILT, _HTML, "/")
    page["match"]["headers"] = [READS, _WANTS_HTML]
    return page


def _asset(site: Site, file: str, content_type: str) -> list[Route]:
    path = f"/assets/{file}"
    plain = _file(site, file, content_type, path, kept=_FOR_GOOD)
    found = []
    for coding, ending in _CODINGS:
        route = _file(site, file + ending, content_type, path, kept=_FOR_GOOD)
        route["name"] = f"{path} {coding}"
        route["match"]["headers"] = [READS, *_takes(coding)]
        route["response_headers_to_add"].append(_header("content-encoding", coding))
        found.append(route)
    for route in (*found, plain):
        route["response_headers_to_add"].append(_header("vary", "accept-encoding"))
    return [*found, plain]


def _takes(coding: str) -> list[dict[str, Any]]:
    """Matches clients that take a content coding, which they may also refuse: `br;q=0`."""
    name = "accept-encoding"
    named = {"safe_regex": {"regex": rf"(?i)(.*,)?\s*{coding}\s*(;.*|,.*)?"}}
    refused = {"safe_regex": {"regex": rf"(?i)(.*,)?\s*{coding}\s*;\s*q\s*=\s*0(\.0*)?\s*(,.*)?"}}
    return [
        {"name": name, "string_match": named},
        {"name": name, "string_match": refused, "invert_match": True},
    ]


def _file(site: Site, file: str, content_type: str, path: str, kept: str = _FOR_MINUTES) -> Route:
    headers = {
        "content-type": content_type,
        "cache-control": kept,
        "content-security-policy": _policy(site),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return {
        "name": path,
        "match": {"path": path, "headers": [READS]},
        "direct_response": {"status": 200, "body": {"filename": str(site.folder / file)}},
        "response_headers_to_add": [_header(key, value) for key, value in headers.items()],
    }


def _policy(site: Site) -> str:
    """What the pages may load: nothing from elsewhere; `data:` are the reference's own small pictures."""
    connect = " ".join(["'self'", site.origins]).strip()
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _header(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _sign_in(config: IssuerConfig) -> str:
    """How the page signs people in, as JSON: null stands for tokens of the development issuer."""
    if not config.jwks_url:
        return "null"
    return json.dumps(
        {
            "issuer": config.issuer,
            "clientId": config.client_id,
            "scope": config.scope,
            "audience": config.audience,
        }
    )


def _origins(config: IssuerConfig) -> str:
    if not config.jwks_url or not config.client_id:
        return ""
    issuer = urlsplit(config.issuer)
    return " ".join([f"{issuer.scheme}://{issuer.netloc}", *config.origins.split()])
