"""Answers as bytes: what of a movie changes rarely is serialized once and joined to what does not.

A movie's line in a chart is made once a change, not once a page.
"""

import struct
from collections.abc import Iterable
from typing import Final

from marquee.rankings.v1 import rankings_pb2 as pb

from mesh import clock, names
from mesh.wire import DELIMITED, FIXED64, VARINT, delimited, repeated, tag, varint
from ranking_svc.chart import ChartEntry, Weighing
from ranking_svc.formula import Formula
from ranking_svc.model import SCORES, Tally

_SCORE_RANK: Final = tag(pb.Score, "rank", VARINT)
_SCORE_FORMULA: Final = tag(pb.Score, "formula", DELIMITED)
_LINE_RANK: Final = tag(pb.ChartEntry, "rank", VARINT)
_LINE_BOX_OFFICE: Final = tag(pb.ChartEntry, "box_office_usd", VARINT)
_LINE_HEAT: Final = tag(pb.ChartEntry, "heat", FIXED64)
_PAGE_ENTRY: Final = tag(pb.ListTopRatedResponse, "entries", DELIMITED)
_PAGE_TOKEN: Final = tag(pb.ListTopRatedResponse, "next_page_token", DELIMITED)
_PAGE_FORMULA: Final = tag(pb.ListTopRatedResponse, "formula", DELIMITED)


def formula_message(formula: Formula) -> pb.Formula:
    """The Formula message."""
    return pb.Formula(prior_votes=formula.prior_votes, prior_mean=formula.prior_mean)


def score(movie: int, entry: ChartEntry | None, rank: int | None, weighing: Weighing) -> bytes:
    """A serialized Score; of a movie without votes if `rank` is None."""
    formula = weighing.formula
    if entry is None or entry.tally is None or rank is None:
        made = pb.Score(
            name=names.score_name(movie), movie=names.movie_name(movie), histogram=[0] * len(SCORES)
        )
        return made.SerializeToString() + delimited(_SCORE_FORMULA, formula_bytes(formula))
    if weighing.variant:
        made_ready = _score(entry.tally, formula) + delimited(_SCORE_FORMULA, formula_bytes(formula))
        return made_ready + _SCORE_RANK + varint(rank)
    if entry.score is None:
        entry.score = _score(entry.tally, formula) + delimited(_SCORE_FORMULA, formula_bytes(formula))
    return entry.score + _SCORE_RANK + varint(rank)


def line(entry: ChartEntry, rank: int, weighing: Weighing) -> bytes:
    """A serialized ChartEntry."""
    if weighing.variant:
        return _LINE_RANK + varint(rank) + _line(entry, weighing.formula)
    if entry.line is None:
        entry.line = _line(entry, weighing.formula)
    return _LINE_RANK + varint(rank) + entry.line


def box_office(usd: int) -> bytes:
    """What a ChartEntry has besides in the chart of box offices."""
    return _LINE_BOX_OFFICE + varint(usd)


def heat(value: float) -> bytes:
    """What a ChartEntry has besides in the trending chart."""
    return _LINE_HEAT + struct.pack("<d", value)


def page(lines: Iterable[bytes], next_page_token: str, formula: Formula | None = None) -> bytes:
    """A serialized List…Response; the four have the same fields except the formula."""
    made = repeated(_PAGE_ENTRY, lines)
    if next_page_token:
        made += delimited(_PAGE_TOKEN, next_page_token.encode())
    if formula is not None:
        made += delimited(_PAGE_FORMULA, formula_bytes(formula))
    return made


def formula_bytes(formula: Formula) -> bytes:
    """The serialized Formula."""
    return formula_message(formula).SerializeToString()


def _score(tally: Tally, formula: Formula) -> bytes:
    return pb.Score(
        name=names.score_name(tally.movie),
        movie=names.movie_name(tally.movie),
        votes=tally.votes,
        mean=tally.total / tally.votes,
        weighted=formula.weighted(tally.total, tally.votes),
        histogram=[max(count, 0) for count in tally.histogram],
        update_time=clock.timestamp(round(tally.update_time * 1e6)),
    ).SerializeToString()


def _line(entry: ChartEntry, formula: Formula) -> bytes:
    made = pb.ChartEntry(movie=names.movie_name(entry.movie), votes=entry.votes)
    if entry.tally is not None and entry.votes:
        made.mean = entry.tally.total / entry.votes
        made.weighted = formula.weighted(entry.tally.total, entry.votes)
    if entry.facts is not None:
        made.title = entry.facts.title
        made.genres.extend(entry.facts.genres)
        if entry.facts.year is not None:
            made.year = entry.facts.year
    return made.SerializeToString()
