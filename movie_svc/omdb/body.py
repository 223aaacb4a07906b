"""OMDb's bodies into dictionaries, also where they are not quite JSON.

Seen in the wild: raw control characters, `\\s` and other escapes that JSON has
not, and double quotes inside of texts that are not escaped. See
https://github.com/omdbapi/OMDb-API/issues/53 and /322.
"""

import json
import re
from typing import Any, Final

_BAD_ESCAPE_RE: Final = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
_FIELD_RE: Final = re.compile(
    r'(?:^\s*\{|[,\]])\s*"(Title|Year|Rated|Released|Season|Episode|Runtime|Genre|Director|Writer|Actors|Plot'
    r"|Language|Country|Awards|Poster|Ratings|Metascore|imdbRating|imdbVotes|imdbID|seriesID|Type|totalSeasons"
    r'|DVD|BoxOffice|Production|Website|Response|Error|Search|totalResults)"\s*:\s*'
)


class BodyError(ValueError):
    """A body is not an OMDb answer, or not all of one."""


def read(raw: bytes) -> dict[str, Any]:
    """The answer in a body.

    Raises:
        BodyError: it is HTML, it was cut off, or it is nothing known.
    """
    text = raw.decode("utf-8", errors="replace").lstrip("\ufeff").strip()
    if not text.startswith("{"):
        raise BodyError(f"not JSON: {text[:60]!r}")
    for attempt in (text, _BAD_ESCAPE_RE.sub(r"\\\\", text)):
        try:
            # Not strict: control characters may stand in texts.
            found = json.loads(attempt, strict=False)
        except ValueError:  # also of a number that is too long to be one
            continue
        except RecursionError:
            raise BodyError("nested too deeply") from None
        if not isinstance(found, dict):
            raise BodyError("not an object")
        return found
    return _salvage(text)


def _salvage(text: str) -> dict[str, Any]:
    """Finds the known fields by their names, whatever the texts between them hold."""
    if not text.endswith("}"):
        raise BodyError(f"cut off after {len(text)} characters")
    marks = list(_FIELD_RE.finditer(text))
    found: dict[str, Any] = {}
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        end = after.start() + (text[after.start()] == "]") if after else len(text) - 1
        found[mark[1]] = _value(text[mark.end() : end].strip())
    if "Response" not in found:
        raise BodyError(f"neither JSON nor an OMDb answer: {text[:60]!r}")
    return found


def _value(text: str) -> Any:
    if text.startswith("["):
        try:
            return json.loads(text, strict=False)
        except json.JSONDecodeError as error:
            raise BodyError(f"a list that is not JSON: {text[:60]!r}") from error
    inner = text.removeprefix('"').removesuffix('"').replace('""', '"')
    try:
        return json.loads(f'"{_escape(inner)}"', strict=False)
    except json.JSONDecodeError:
        return inner


def _escape(text: str) -> str:
    """Escapes the quotes that are not, so that what is escaped can be read."""
    return re.sub(r'(?<!\\)"', r"\"", _BAD_ESCAPE_RE.sub(r"\\\\", text))
