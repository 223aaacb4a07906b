"""Reading OMDb's answers: nothing that it knows is lost, nothing that it does not know is made up."""

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


# What follows has been seen at OMDb, but not in the recorded answers.

BASE = {"Title": "A Title", "imdbID": "tt0000001", "Type": "movie", "Response": "True"}


def parsed(**fields: Any) -> movies_pb2.Movie:
    return parse.movie({**BASE, **fields})


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("142 min", 142),
        ("1 h 36 min", 96),
        ("2 h", 120),
        ("1h 36min", 96),
        ("1,440 min", 1440),
        ("90", 90),
        ("9 mins", 9),
    ],
)
def test_runtimes(text: str, minutes: int) -> None:
    assert parsed(Runtime=text).runtime_minutes == minutes


@pytest.mark.parametrize(
    ("text", "first", "last", "ongoing"),
    [
        ("1994", 1994, None, False),
        ("2006–", 2006, None, True),
        ("1975–1979", 1975, 1979, False),
        ("1975-1979", 1975, 1979, False),
        ("2006â€“", 2006, None, True),
        ("2006-", 2006, None, True),
        ("2006 – ", 2006, None, True),
        ("2006–present", 2006, None, True),
        ("2006 - 2008", 2006, 2008, False),
    ],
)
def test_years(text: str, first: int, last: int | None, ongoing: bool) -> None:
    movie = parsed(Year=text)
    assert (movie.year, movie.end_year or None, movie.ongoing) == (first, last, ongoing)


@pytest.mark.parametrize(
    ("text", "headline", "wins", "nominations"),
    [
        ("Won 7 Oscars. 180 wins & 125 nominations total", ("Oscar", 7, 0), 180, 125),
        ("Nominated for 7 Oscars. 21 wins & 43 nominations total", ("Oscar", 0, 7), 21, 43),
        ("Nominated for 1 BAFTA Award2 wins & 5 nominations total", ("BAFTA Award", 0, 1), 2, 5),
        ("Won 2 Primetime Emmys. 3 wins total", ("Primetime Emmy", 2, 0), 3, None),
        ("Won 3 Oscars. Another 5 wins & 6 nominations.", ("Oscar", 3, 0), 8, 6),
        ("Nominated for 1 Oscar. Another 1 nomination.", ("Oscar", 0, 1), None, 2),
        ("Won 1 Oscar.", ("Oscar", 1, 0), 1, None),
        ("1 win", None, 1, None),
        ("12 wins & 14 nominations total", None, 12, 14),
    ],
)
def test_awards(
    text: str, headline: tuple[str, int, int] | None, wins: int | None, nominations: int | None
) -> None:
    awards = parsed(Awards=text).awards
    assert awards.text == text
    assert (awards.wins if awards.HasField("wins") else None) == wins
    assert (awards.nominations if awards.HasField("nominations") else None) == nominations
    found = (awards.headline_award, awards.headline_wins, awards.headline_nominations)
    assert found == (headline or ("", 0, 0))


@pytest.mark.parametrize(
    ("text", "dollars"), [("$936,662,225", 936662225), ("$957", 957), ("$28.3M", 28300000)]
)
def test_box_office(text: str, dollars: int) -> None:
    assert parsed(BoxOffice=text).box_office_usd == dollars


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BoxOffice", "£1,000"),
        ("BoxOffice", "$3,000,000,000"),
        ("Year", "soon"),
        ("Year", "0000"),
        ("Year", "2015–2011"),
        ("Released", "31 Feb 1999"),
        ("Runtime", "long"),
        ("Released", "31 Foo 1999"),
        ("imdbRating", "11.0"),
        ("imdbVotes", "1,23"),
        ("Awards", "Palme d'Or"),
        ("Writer", "Somebody (unclosed"),
        ("seriesID", "1234567"),
        ("Type", "podcast"),
        ("Ratings", "good"),
        ("Tomatoes", "87%"),
    ],
)
def test_what_cannot_be_understood_is_kept_as_sent(field: str, value: str) -> None:
    movie = parsed(**{field: value})
    assert movie.unparsed == {field: value}
    assert movie.title == "A Title"


def test_a_rating_of_an_unknown_form_is_kept_and_named_by_its_site() -> None:
    movie = parsed(
        Ratings=[{"Source": "Somewhere", "Value": "four stars"}, {"Source": "Metacritic", "Value": "73/100"}]
    )
    assert [(r.source, r.value, r.HasField("fraction")) for r in movie.external_ratings] == [
        ("Somewhere", "four stars", False),
        ("Metacritic", "73/100", True),
    ]
    assert movie.unparsed == {"Ratings.Somewhere": "four stars"}


def test_people_keep_their_suffixes_and_notes() -> None:
    movie = parsed(
        Actors="Robert Downey, Jr., Jane Doe",
        Director="Bob Peterson(co-director)",
        Writer='Peter George (based on the book: "Red Alert" by), Ann Lee (scenario,  adaptation)',
    )
    assert [a.person for a in movie.actors] == ["Robert Downey, Jr.", "Jane Doe"]
    assert [(d.person, d.note) for d in movie.directors] == [("Bob Peterson", "co-director")]
    assert [w.note for w in movie.writers] == ['based on the book: "Red Alert" by', "scenario,  adaptation"]


def test_entities_and_control_characters_are_read() -> None:
    movie = parsed(Title="Tom &amp;amp; Jerry &eacute;", Plot="It\x1as a\tplot\x00.")
    assert movie.title == "Tom & Jerry é"
    assert movie.plot == "It s a plot ."


@pytest.mark.parametrize(
    "body", [{}, {"imdbID": "tt1"}, {"imdbID": "tt0000001"}, {"imdbID": "tt0000001", "Title": " "}]
)
def test_what_is_no_title_is_refused(body: dict[str, str]) -> None:
    with pytest.raises(parse.ParseError):
        parse.movie(body)


ADDRESS = "http://films.example/a"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("?id=7&region=us&section=3", "?id=7&region=us&section=3"),
        (
            "?a=1&copy=2&reg=3&sect=4&para=5&not=6&lt=7&times=8",
            "?a=1&copy=2&reg=3&sect=4&para=5&not=6&lt=7&times=8",
        ),
        ("?a=1&amp;region=us", "?a=1&region=us"),
        ("?q=%26amp%3B&x=%C3%A9", "?q=%26amp%3B&x=%C3%A9"),
        ("?a=1&eacute;=2", "?a=1&eacute;=2"),
        ("/é#&sect", "/é#&sect"),
    ],
)
def test_addresses_are_no_html_text(sent: str, found: str) -> None:
    movie = parsed(Website=ADDRESS + sent, Poster=ADDRESS + sent)
    assert movie.website_uri == movie.poster_uri == ADDRESS + found


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("Fish &amp; Chips", "Fish & Chips"),
        ("Fish & Chips", "Fish & Chips"),
        ("R&D;x", "R&D;x"),
        ("Rock &notes", "Rock &notes"),
        ("Q&copy", "Q&copy"),
        ("&#39;Tis &#x2019;", "'Tis \u2019"),
        ("A &lt;b&gt; C", "A <b> C"),
        ("&quot;Crocodile&quot; Dundee", '"Crocodile" Dundee'),
        ("Se7en &nosuch; &#99999999;", "Se7en &nosuch; &#99999999;"),
    ],
)
def test_texts_have_entities_only_where_they_end_as_such(sent: str, found: str) -> None:
    movie = parsed(Title=sent, Plot=sent, Director=sent, Genre=sent, Production=sent)
    assert (movie.title, movie.plot, movie.production) == (found, found, found)
    assert (movie.directors[0].person, movie.genres[0]) == (found, found)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, [], {}])
def test_what_is_no_text_is_not_taken_for_one(value: Any) -> None:
    movie = parsed(Plot=value, Website=value, Year=value)
    assert not movie.HasField("plot")
    assert not movie.HasField("website_uri")
    assert set(movie.unparsed) == {"Plot", "Website", "Year"}
    with pytest.raises(parse.ParseError):
        parsed(Title=value)


def test_a_title_that_no_index_could_hold_is_refused() -> None:
    with pytest.raises(parse.ParseError, match="a title of 501 characters"):
        parsed(Title="x" * 501)
    assert len(parsed(Title="x" * 500).title) == 500


@pytest.mark.parametrize("number", ["tt00000001", "tt012345678", "tt123", "TT0000001", "tt1234567890"])
def test_what_is_no_imdb_id_is_refused(number: str) -> None:
    with pytest.raises(parse.ParseError):
        parsed(imdbID=number)


@pytest.mark.parametrize(
    ("sent", "name"), [("tt12345678", "movies/tt12345678"), ("tt123456789", "movies/tt123456789")]
)
def test_ids_may_have_eight_and_nine_digits(sent: str, name: str) -> None:
    movie = parsed(imdbID=sent, seriesID=sent)
    assert movie.name == movie.series == name
