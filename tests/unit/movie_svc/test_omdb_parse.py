"""Reading OMDb's answers: nothing that it knows is lost, nothing that it does not know is made up."""

from typing import Any

import pytest
from marquee.movies.v1 import movies_pb2

from movie_svc.omdb import parse

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
