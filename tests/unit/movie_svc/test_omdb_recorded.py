"""Every recorded answer of OMDb comes back out of a movie's fields as it went in."""

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from google.type import date_pb2
from marquee.movies.v1 import movies_pb2

from local.commands.movielens import data_folder
from movie_svc.omdb import parse

DATA = data_folder()
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    path = DATA / "omdb" / "answers.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded OMDb answers at {path}: set MARQUEE_DATA")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["body"] for line in lines]


def test_every_recorded_answer_comes_back_out_as_it_went_in(answers: list[dict[str, Any]]) -> None:
    differences: list[str] = []
    unparsed: Counter[str] = Counter()
    for body in answers:
        movie = parse.movie(body)
        unparsed.update(movie.unparsed.keys())
        rendered = {field: render(movie) for field, render in RENDERERS.items()}
        for field, value in body.items():
            if field == "Response":
                continue
            known = _normal(field, value)
            again = _normal(field, movie.unparsed.get(field, rendered[field]))
            if known != again:
                differences.append(f"{body['imdbID']} {field}: {known!r} came out as {again!r}")
    assert not differences, "\n".join(differences[:20])
    assert len(answers) > 3000
    print(f"{len(answers)} answers; not understood by field: {dict(unparsed) or 'nothing'}")
    assert sum(unparsed.values()) <= len(answers) * 0.01


def test_what_omdb_does_not_know_is_absent(answers: list[dict[str, Any]]) -> None:
    for body in answers:
        movie = parse.movie(body)
        known = {field.name for field, _ in movie.ListFields()}
        for omdb, field in FIELDS.items():
            if body.get(omdb, "N/A") == "N/A":
                assert field not in known, f"{movie.name} has {field} though OMDb's {omdb} is N/A"


def test_awards_of_the_recorded_answers_add_up(answers: list[dict[str, Any]]) -> None:
    for body in answers:
        if body["Awards"] == "N/A":
            continue
        awards = parse.movie(body).awards
        assert _plain(_awards_sentence(awards)) == _plain(body["Awards"]), body["imdbID"]


def _awards_sentence(awards: movies_pb2.Awards) -> str:
    wins, nominations = awards.wins, awards.nominations
    text = ""
    if awards.headline_award:
        won = awards.HasField("headline_wins")
        number = awards.headline_wins if won else awards.headline_nominations
        text = f"{'Won' if won else 'Nominated for'} {number} {awards.headline_award}. Another "
        wins -= awards.headline_wins
        nominations -= awards.headline_nominations
    counts = [f"{wins} win"] if wins else []
    counts += [f"{nominations} nomination"] if nominations else []
    return text + " & ".join(counts) + "."


def _plain(awards: str) -> str:
    return re.sub(r"(?<=[a-z])s\b", "", awards)


def _date(date: date_pb2.Date) -> str:
    return f"{date.day:02d} {MONTHS[date.month - 1]} {date.year}" if date.year else "N/A"


def _people(people: Iterable[movies_pb2.Credit]) -> str:
    return ", ".join(p.person + (f" ({p.note})" if p.HasField("note") else "") for p in people) or "N/A"


def _number(field: str, form: str = "{}") -> Callable[[movies_pb2.Movie], str]:
    return lambda movie: form.format(getattr(movie, field)) if movie.HasField(field) else "N/A"  # type: ignore[arg-type]


def _text(field: str) -> Callable[[movies_pb2.Movie], str]:
    return lambda movie: getattr(movie, field) or "N/A"


def _years(movie: movies_pb2.Movie) -> str:
    end = str(movie.end_year) if movie.end_year else ""
    return f"{movie.year}–{end}" if movie.ongoing or end else str(movie.year)


def _kind(movie: movies_pb2.Movie) -> str:
    return movies_pb2.MovieType.Name(movie.type).removeprefix("MOVIE_TYPE_").lower()


def _ratings(movie: movies_pb2.Movie) -> list[tuple[str, str, float]]:
    return [(r.source, r.value, round(r.fraction, 3)) for r in movie.external_ratings]


FIELDS = {
    "Year": "year", "Rated": "content_rating", "Released": "release_date", "Runtime": "runtime_minutes",
    "Genre": "genres", "Director": "directors", "Writer": "writers", "Actors": "actors", "Plot": "plot",
    "Language": "languages", "Country": "countries", "Awards": "awards", "Poster": "poster_uri",
    "Metascore": "metascore", "imdbRating": "imdb_rating", "imdbVotes": "imdb_votes", "DVD":
    "dvd_release_date",
    "BoxOffice": "box_office_usd", "Production": "production", "Website": "website_uri", "seriesID": "series",
    "Season": "season", "Episode": "episode", "totalSeasons": "total_seasons",
}  # fmt: skip

RENDERERS: dict[str, Callable[[movies_pb2.Movie], Any]] = {
    "Title": _text("title"),
    "Year": _years,
    "Rated": _text("content_rating"),
    "Released": lambda m: _date(m.release_date),
    "Runtime": _number("runtime_minutes", "{} min"),
    "Genre": lambda m: ", ".join(m.genres) or "N/A",
    "Director": lambda m: _people(m.directors),
    "Writer": lambda m: _people(m.writers),
    "Actors": lambda m: _people(m.actors),
    "Plot": _text("plot"),
    "Language": lambda m: ", ".join(m.languages) or "N/A",
    "Country": lambda m: ", ".join(m.countries) or "N/A",
    "Awards": lambda m: m.awards.text or "N/A",
    "Poster": _text("poster_uri"),
    "Ratings": _ratings,
    "Metascore": _number("metascore"),
    "imdbRating": _number("imdb_rating", "{:.1f}"),
    "imdbVotes": _number("imdb_votes", "{:,}"),
    "imdbID": lambda m: m.name.removeprefix("movies/"),
    "Type": _kind,
    "DVD": lambda m: _date(m.dvd_release_date),
    "BoxOffice": _number("box_office_usd", "${:,}"),
    "Production": _text("production"),
    "Website": _text("website_uri"),
    "seriesID": lambda m: m.series.removeprefix("movies/") or "N/A",
    "Season": _number("season"),
    "Episode": _number("episode"),
    "totalSeasons": _number("total_seasons"),
}


def _normal(field: str, value: Any) -> Any:
    """What must be equal: OMDb's other spellings of the same are made one."""
    if field == "Ratings":
        return [_rating(v) if isinstance(v, dict) else v for v in value]
    text = html.unescape(value).replace("\xa0", " ").strip()
    if field == "Plot":
        return text.removesuffix("See full synopsis »").strip()
    if field in ("Director", "Writer", "Actors"):
        return re.sub(r"\s*\(", " (", text)
    if field == "imdbVotes":
        return text.replace(",", "")
    if field == "Runtime" and (found := re.fullmatch(r"(\d+) h(?: (\d+) min)?", text)):
        return f"{int(found[1]) * 60 + int(found[2] or 0)} min"
    return text


def _rating(rating: dict[str, str]) -> tuple[str, str, float]:
    value = rating["Value"]
    number, _, best = value.rstrip("%").partition("/")
    return rating["Source"], value, round(float(number) / float(best or 100), 3)
