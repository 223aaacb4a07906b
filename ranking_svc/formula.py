"""The weighted score and the order of charts, defined once for whoever recounts them.

weighted = v/(v+m)·R + m/(v+m)·C is IMDb's published formula
(https://help.imdb.com/article/imdb/track-movies-tv/ratings-faq/G67Y87TFYYP6TWAV).
It is computed as `(total + m·C) / (votes + m)` in IEEE 754 doubles, in that
order of operations, from whole numbers: any language computes the same bits.
"""

import struct
from dataclasses import dataclass
from typing import Final

# C of an empty database: the middle of the scale. No movie is weighed by it.
NO_MEAN: Final = 5.5

Key = int

_VOTES_MAX: Final = (1 << 32) - 1
_MOVIE_MASK: Final = (1 << 32) - 1
_SIGN: Final = 1 << 63
_WORD: Final = (1 << 64) - 1
_PACK: Final = struct.Struct(">d").pack


@dataclass(frozen=True, slots=True)
class Formula:
    """m and C, as they were measured by the rebuild that made this generation."""

    generation: int
    prior_votes: float
    prior_mean: float

    def weighted(self, total: int, votes: int) -> float:
        """The weighted score of a movie whose `votes` scores add up to `total`."""
        return (total + self.prior_votes * self.prior_mean) / (votes + self.prior_votes)


def key(value: float, votes: int, movie: int) -> Key:
    """What a chart is sorted by, ascending: the value, best first; then votes, most first; then the
    movie's number, smallest first. No two movies have the same key.

    It is one whole number, since very many are kept in memory: the value's bits
    so turned that they sort downwards, then the votes' complement, then the movie.
    """
    return _descending(value) << 64 | (_VOTES_MAX - votes) << 32 | movie


def key_behind(value: float) -> Key:
    """What sorts behind every movie of `value` or a better one, and before all others."""
    return (_descending(value) + 1) << 64


def movie_of(key: Key) -> int:
    """The movie whose key this is."""
    return key & _MOVIE_MASK


def _descending(value: float) -> int:
    bits = int.from_bytes(_PACK(value), "big")
    # Of IEEE 754 doubles, positive ones sort as their bits do, and negative ones the other way round.
    return bits ^ (_WORD ^ _SIGN) if bits < _SIGN else bits
