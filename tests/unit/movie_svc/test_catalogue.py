"""MovieLens' lines become movies."""

from datetime import UTC, datetime

import pytest
from marquee.movies.v1 import movies_pb2

from movie_svc.storing import catalogue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Matrix, The (1999)", "The Matrix", 1999),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)",
         "The City of Lost Children", 1995),
        ("Killer, The (a.k.a. X) (Die xue shuang xiong) (1989)", "The Killer", 1989),
        ("Birdman: Or (The Unexpected Virtue of Ignorance) (2014)",
         "Birdman: Or (The Unexpected Virtue of Ignorance)", 2014),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Babylon 5", "Babylon 5", None),
        ("Toy Story (1995) ", "Toy Story", 1995),
    ],
)  # fmt: skip
def test_titles_and_years(text: str, title: str, year: int | None) -> None:
    record = catalogue.record(1, text, "Drama", NOW)
    assert (record.title, record.year) == (title, year)
    movie = movies_pb2.Movie.FromString(record.data)
    assert (movie.title, movie.HasField("year")) == (title, year is not None)
    assert movie.source == movies_pb2.SOURCE_CATALOGUE


def test_other_titles_are_found_by_but_not_shown() -> None:
    record = catalogue.record(
        1, "City of Lost Children, The (Cité des enfants perdus, La) (1995)", "Drama", NOW
    )
    assert set(record.words.split()) >= {"city", "lost", "children", "cite", "enfants", "perdus"}
    assert "enfants" not in record.title


def test_genres_have_omdbs_names() -> None:
    movie = movies_pb2.Movie.FromString(catalogue.record(1, "T (1999)", "Children|IMAX|Sci-Fi", NOW).data)
    assert list(movie.genres) == ["Family", "Sci-Fi"]
    assert not movies_pb2.Movie.FromString(catalogue.record(1, "T", "(no genres listed)", NOW).data).genres


@pytest.mark.parametrize(
    ("years", "first", "last", "ongoing"),
    [
        ("2006–2007", 2006, 2007, False),
        ("2011-2015", 2011, 2015, False),
        ("2011 – 2015", 2011, 2015, False),
        ("2011—2015", 2011, 2015, False),
        ("2011‑2015", 2011, 2015, False),
        ("2011–", 2011, None, True),
        ("2011-", 2011, None, True),
        ("2011- ", 2011, None, True),
        (" 2011 – ", 2011, None, True),
        ("2011–present", 2011, None, True),
        ("2011-Present", 2011, None, True),
        ("2011–????", 2011, None, True),
    ],
)
def test_a_range_of_years_is_a_series(years: str, first: int, last: int | None, ongoing: bool) -> None:
    movie = movies_pb2.Movie.FromString(catalogue.record(1, f"Show, The ({years})", "Crime", NOW).data)
    assert movie.title == "The Show"
    assert movie.type == movies_pb2.MOVIE_TYPE_SERIES
    assert (movie.year, movie.end_year or None, movie.ongoing) == (first, last, ongoing)


@pytest.mark.parametrize(
    "text", ["Show (2015–2011)", "Show (0000)", "Show (1408)", "Show (99)", "Show (soon)"]
)
def test_what_is_no_time_is_not_taken_for_one(text: str) -> None:
    movie = movies_pb2.Movie.FromString(catalogue.record(1, text, "Crime", NOW).data)
    assert movie.type == movies_pb2.MOVIE_TYPE_MOVIE
    assert not movie.HasField("year")
    assert not movie.ongoing


def test_what_can_not_be_shown_does_not_get_into_titles_or_genres() -> None:
    record = catalogue.record(1, "A\0 Title\x1b (1999)", "Dra\0ma| Sci-Fi ", NOW)
    assert (record.title, record.genres) == ("A  Title", ["dra ma", "sci-fi"])
    with pytest.raises(ValueError, match="its title has 0 characters"):
        catalogue.record(1, " ", "Drama", NOW)
    with pytest.raises(ValueError, match="its title has 600 characters"):
        catalogue.record(1, "x" * 600, "Drama", NOW)
