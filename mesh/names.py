"""Resource names: `movies/tt0111161`, `users/me/ratings/tt0111161`. Their forms are shapes of the contract.

A movie's number is the whole number in its IMDb id: it is what databases and
caches key by. IMDb pads to seven digits, so the two forms map one to one.
"""

import re
from typing import Final

from marquee.rules.v1 import rules_pb2

from mesh import rules


class _Form:
    """A shape that has a pattern."""

    def __init__(self, shape: int) -> None:
        rule = rules.shape(shape)
        self._value = rules.value(rule)
        self.match = rules.expression(rule).fullmatch

    def parts(self, text: str, field: str) -> re.Match[str]:
        """What a text consists of; INVALID_ARGUMENT naming `field` if it is not of this form."""
        found = self.match(text)
        if found is None:
            raise self._value.refusal(field, text)
        return found


_IMDB_ID: Final = _Form(rules_pb2.SHAPE_IMDB_ID)
_MOVIE: Final = _Form(rules_pb2.SHAPE_MOVIE_NAME)
_SCORE: Final = _Form(rules_pb2.SHAPE_SCORE_NAME)
_RATING: Final = _Form(rules_pb2.SHAPE_RATING_NAME)
_USER_NAME: Final = _Form(rules_pb2.SHAPE_USER_NAME)
_USER: Final = _Form(rules_pb2.SHAPE_USER_ID)
_ID: Final = "imdb_id"
_DIGITS: Final = len("tt")
_BEFORE_NUMBER: Final = len("movies/tt")


def imdb_id(number: int) -> str:
    """`111161` → `tt0111161`."""
    return f"tt{number:07d}"


def imdb_number(text: str) -> int | None:
    """`tt0111161` → `111161`; None for what is no IMDb id."""
    return None if _IMDB_ID.match(text) is None else int(text[_DIGITS:])


def movie_name(number: int) -> str:
    """`111161` → `movies/tt0111161`."""
    return f"movies/tt{number:07d}"


def movie_number(name: str, field: str = "name") -> int:
    """`movies/tt0111161` → `111161`; INVALID_ARGUMENT naming `field` otherwise."""
    return int(_MOVIE.parts(name, field)[_ID][_DIGITS:])


def number_in(name: str) -> int:
    """`movies/tt0111161` → `111161`, of a name that is known to be a movie's."""
    return int(name[_BEFORE_NUMBER:])


def score_number(name: str, field: str = "name") -> int:
    """`movies/tt0111161/score` → `111161`; INVALID_ARGUMENT naming `field` otherwise."""
    return int(_SCORE.parts(name, field)[_ID][_DIGITS:])


def score_name(number: int) -> str:
    """`111161` → `movies/tt0111161/score`."""
    return f"movies/tt{number:07d}/score"


def rating_name(user: str, number: int) -> str:
    """The name of a user's rating of a movie."""
    return f"users/{user}/ratings/tt{number:07d}"


def rating_parts(name: str, field: str = "name") -> tuple[str, int]:
    """`users/me/ratings/tt0111161` → `("me", 111161)`; INVALID_ARGUMENT naming `field` otherwise."""
    found = _RATING.parts(name, field)
    return found["user_id"], int(found[_ID][_DIGITS:])


def user_of(parent: str, field: str = "parent") -> str:
    """`users/me` → `me`; INVALID_ARGUMENT naming `field` otherwise."""
    return _USER_NAME.parts(parent, field)["user_id"]


def is_user(text: str) -> bool:
    """Whether a token's subject can stand in a resource name."""
    return _USER.match(text) is not None
