"""Resource names: `movies/tt0111161`, `users/me/ratings/tt0111161`.

A movie's number is the whole number in its IMDb id: it is what databases and
caches key by. IMDb pads to seven digits, so the two forms map one to one.
"""

import re
from typing import Final

from mesh.errors import invalid

_IMDB_ID = r"tt(\d{7}|[1-9]\d{7,8})"
_USER = r"[A-Za-z0-9._@|:\-]{1,128}"
_IMDB_ID_RE: Final = re.compile(_IMDB_ID, re.ASCII)
_MOVIE_RE: Final = re.compile(rf"movies/{_IMDB_ID}", re.ASCII)
_SCORE_RE: Final = re.compile(rf"movies/{_IMDB_ID}/score", re.ASCII)
_RATING_RE: Final = re.compile(rf"users/({_USER})/ratings/{_IMDB_ID}", re.ASCII)
_PARENT_RE: Final = re.compile(rf"users/({_USER})", re.ASCII)
_USER_RE: Final = re.compile(_USER, re.ASCII)
_SHOWN: Final = 80


def imdb_id(number: int) -> str:
    """`111161` → `tt0111161`."""
    return f"tt{number:07d}"


def imdb_number(text: str, field: str) -> int:
    """`tt0111161` → `111161`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _IMDB_ID_RE.fullmatch(text)
    if found is None:
        raise invalid(field, f"{_show(text)} is not an IMDb id: tt and 7 to 9 digits", "INVALID_MOVIE_NAME")
    return int(found[1])


def movie_name(number: int) -> str:
    """`111161` → `movies/tt0111161`."""
    return f"movies/tt{number:07d}"


def movie_number(name: str, field: str = "name") -> int:
    """`movies/tt0111161` → `111161`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _MOVIE_RE.fullmatch(name)
    if found is None:
        raise invalid(
            field,
            f"{_show(name)} is not a movie's name, such as movies/tt0111161",
            "INVALID_MOVIE_NAME",
        )
    return int(found[1])


def score_number(name: str, field: str = "name") -> int:
    """`movies/tt0111161/score` → `111161`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _SCORE_RE.fullmatch(name)
    if found is None:
        raise invalid(
            field,
            f"{_show(name)} is not a score's name, such as movies/tt0111161/score",
            "INVALID_SCORE_NAME",
        )
    return int(found[1])


def score_name(number: int) -> str:
    """`111161` → `movies/tt0111161/score`."""
    return f"movies/tt{number:07d}/score"


def rating_name(user: str, number: int) -> str:
    """The name of a user's rating of a movie."""
    return f"users/{user}/ratings/tt{number:07d}"


def rating_parts(name: str, field: str = "name") -> tuple[str, int]:
    """`users/me/ratings/tt0111161` → `("me", 111161)`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _RATING_RE.fullmatch(name)
    if found is None:
        raise invalid(
            field,
            f"{_show(name)} is not a rating's name, such as users/me/ratings/tt0111161",
            "INVALID_RATING_NAME",
        )
    return found[1], int(found[2])


def user_of(parent: str, field: str = "parent") -> str:
    """`users/me` → `me`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _PARENT_RE.fullmatch(parent)
    if found is None:
        raise invalid(field, f"{_show(parent)} is not a user's name: users/me", "INVALID_USER_NAME")
    return found[1]


def is_user(text: str) -> bool:
    """Whether a token's subject can stand in a resource name."""
    return _USER_RE.fullmatch(text) is not None


def _show(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
