"""What the services take of a request's fields, for the API's description.

The services check; this is what they say of it. tests/integration/edge/test_fuzz.py makes calls from the
description, so that most of them would be refused if it said something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMDB_ID = r"tt(\d{7}|[1-9]\d{7,8})"

_YEAR = {"minimum": 1870, "maximum": 2100}
_SCORE = {"minimum": 1, "maximum": 10}
# A year or a score of 0 is none.
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "score": _SCORE,
    "min_score": {**_SCORE, "minimum": 0},
    "max_score": {**_SCORE, "minimum": 0},
    "year": _YEAR,
    "decade": {**_YEAR, "multipleOf": 10},
    "min_votes": {"minimum": 0},
    "page_size": {"minimum": 0},
    "request_id": {"format": "uuid"},
    "query": {"minLength": 2, "maxLength": 200},
    "title": {"minLength": 1, "maxLength": 200},
    "names": {"minItems": 1, "maxItems": 100, "items": {"type": "string", "pattern": f"^movies/{IMDB_ID}$"}},
    "requests": {"minItems": 1, "maxItems": 500},
    "order_by": {"pattern": "^((title|year|imdb_votes)( asc| desc)?)?$"},
}

_OWN: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("marquee.ratings.v1.RateMovieRequest", "name"): {"pattern": f"^users/me/ratings/{IMDB_ID}$"},
}


def of(message: str, field: str) -> Mapping[str, Any]:
    """What a field takes, as keywords of JSON Schema; none where it takes anything of its type."""
    if not message.endswith("Request"):
        return {}
    return _OWN.get((message, field)) or _FIELDS.get(field, {})
