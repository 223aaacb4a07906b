"""Routes that refuse what the transcoder would take a query string for, made from the contract.

The transcoder lets a query parameter replace what the path says, takes the last of two values for one field,
skips a parameter without a value, and reads names percent-encoded. Each would do something else than the URL
says at first sight.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from edge.contract import Binding, Method, QueryField
from edge.direct import Route

WITH_JWT: Final = r".*e[yw][A-Za-z0-9_-]{15,}(\.|%2[Ee])e[yw][A-Za-z0-9_-]{15,}(\.|%2[Ee]).*"
"""A URL with a signed JWT in it: two dots, and before each a JSON object in base64url."""


def refusals(methods: Iterable[Method]) -> list[Route]:
    """What goes before the routes of JSON calls."""
    pairs = [(method, binding) for method in methods for binding in method.bindings]
    return [
        _refusal(
            "token in the URL",
            {"prefix": "/"},
            [_url(WITH_JWT)],
            "there is a token in the URL, where logs keep it: take it for stolen, and send the next one in "
            "the authorization header",
        ),
        _refusal(
            "malformed query",
            {"prefix": "/"},
            [{**_url(_WELL_FORMED), "invert_match": True}],
            "a query is NAME=VALUE&NAME=VALUE, names written plainly: letters, digits, _ and .",
        ),
        *_all_in_the_body(binding for _, binding in pairs if binding.body == "*"),
        *_said_elsewhere(pairs),
        *_twice(pairs),
    ]


def has_mask(method: Method) -> dict[str, object] | None:
    """Matches calls of the method that ask for some fields only; None if it has no such thing."""
    masks = [field for field in method.query_fields if field.mask]
    if not masks:
        return None
    return _url(rf"{_PARAMETER}{_any_of(masks)}(\.paths)?=[^&].*")


_PARAMETER: Final = r"[^?]*\?(.*&)?"
_WELL_FORMED: Final = r"[^?]*(\?([^=&%+]+=[^&]*)?(&([^=&%+]+=[^&]*)?)*)?"


def _all_in_the_body(bindings: Iterable[Binding]) -> Iterator[Route]:
    for verb, group in itertools.groupby(
        sorted(bindings, key=lambda each: each.verb), lambda each: each.verb
    ):
        yield _refusal(
            f"{verb} all in the body",
            _paths(group),
            [_verb(verb), _url(r"[^?]*\?.+")],
            "this call takes no query parameters: what its path does not say goes into the body",
        )


def _said_elsewhere(pairs: Iterable[tuple[Method, Binding]]) -> Iterator[Route]:
    groups: dict[tuple[str, QueryField], list[Binding]] = defaultdict(list)
    for method, binding in pairs:
        known = {field.path: field for field in method.query_fields}
        for path in binding.path_fields:
            groups[binding.verb, known[path]].append(binding)
        if binding.body not in ("", "*"):
            groups[binding.verb, known[binding.body]].append(binding)
    for (verb, field), bindings in groups.items():
        yield _refusal(
            f"{verb} {field.path} said elsewhere",
            _paths(bindings),
            [_verb(verb), _url(rf"{_PARAMETER}{_any_of([field])}[.=].*")],
            f"{field.path}: the path or the body says it, a query parameter must not say it again",
        )


def _twice(pairs: Iterable[tuple[Method, Binding]]) -> Iterator[Route]:
    """One route for the names that mean one value wherever they are known, and one for each of the others."""
    pairs = list(pairs)
    often = {
        name
        for method, _ in pairs
        for field in method.query_fields
        if not field.once
        for name in field.spellings
    }
    once: dict[QueryField, list[Binding]] = defaultdict(list)
    for method, binding in pairs:
        for field in method.query_fields:
            if field.once:
                once[field].append(binding)
    everywhere = [field for field in once if not often & set(field.spellings)]
    if everywhere:
        yield _once_only(everywhere, {"prefix": "/"})
    for field in once.keys() - set(everywhere):
        yield _once_only([field], _paths(once[field]))


def _once_only(fields: Iterable[QueryField], match: dict[str, object]) -> Route:
    named = sorted({_any_of([field]) for field in fields})
    pattern = "|".join(f"{each}=.*&{each}=" for each in named)
    return _refusal(
        "parameter twice",
        match,
        [_url(rf"{_PARAMETER}({pattern}).*")],
        "a query parameter that takes one value is there twice, perhaps in two spellings",
    )


def _refusal(name: str, match: dict[str, object], headers: list[dict[str, object]], message: str) -> Route:
    return {
        "name": name,
        "match": {**match, "headers": headers},
        "direct_response": {"status": 400, "body": {"inline_string": message}},
    }


def _paths(bindings: Iterable[Binding]) -> dict[str, object]:
    # dict: each once, in their order.
    return {"safe_regex": {"regex": "|".join(dict.fromkeys(each.path_regex for each in bindings))}}


def _verb(verb: str) -> dict[str, object]:
    return {
        "name": ":method",
        "string_match": {"safe_regex": {"regex": "GET|HEAD" if verb == "GET" else verb}},
    }


def _url(regex: str) -> dict[str, object]:
    return {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}}


def _any_of(fields: Iterable[QueryField]) -> str:
    names = sorted({re.escape(name) for field in fields for name in field.spellings})
    return f"({'|'.join(names)})"
