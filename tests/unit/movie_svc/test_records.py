"""What is stored of a movie: etags, freshness, events, and the merging of partial records."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from marquee.movies.v1 import events_pb2, movies_pb2

from movie_svc.config import FreshnessConfig
from movie_svc.storing import records

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
FRESHNESS = FreshnessConfig()


def movie(**fields: Any) -> movies_pb2.Movie:
    return movies_pb2.Movie(name="movies/tt0000001", **{"title": "A Title", **fields})


def made(source: int = movies_pb2.SOURCE_OMDB, at: datetime = NOW, **fields: Any) -> records.MovieRecord:
    return records.make(movie(**fields), source, at, at)  # type: ignore[arg-type]


def stored(record: records.MovieRecord) -> movies_pb2.Movie:
    return movies_pb2.Movie.FromString(record.data)


def test_the_etag_changes_with_the_content_and_not_with_when_it_was_fetched() -> None:
    one, later, other = made(), made(at=LATER), made(plot="Something happens.")
    assert one.etag == later.etag == stored(one).etag
    assert one.data != later.data
    assert other.etag != one.etag


def test_the_etag_does_not_depend_on_the_order_of_a_map() -> None:
    one, other = movie(), movie()
    one.unparsed["a"], one.unparsed["b"] = "1", "2"
    other.unparsed["b"], other.unparsed["a"] = "2", "1"
    assert records.etag_of(one) == records.etag_of(other)


def test_columns_say_what_the_bytes_say() -> None:
    record = made(title="Matrix, The", year=1999, imdb_votes=7, box_office_usd=9, genres=["Sci-Fi", "Drama"])
    assert (record.number, record.title_key, record.year, record.votes) == (1, "matrix, the", 1999, 7)
    assert (record.box_office, record.genres, record.words) == (9, ["sci-fi", "drama"], "the matrix")
    unknown = made()
    assert (unknown.year, unknown.votes, unknown.box_office, unknown.genres) == (None, None, None, [])


@pytest.mark.parametrize(
    ("fields", "usual_s"),
    [
        ({"year": 2026}, FRESHNESS.new_s),
        ({"year": 2025}, FRESHNESS.new_s),
        ({}, FRESHNESS.new_s),
        ({"year": 1990, "ongoing": True}, FRESHNESS.new_s),
        ({"year": 2020}, FRESHNESS.recent_s),
        ({"year": 1994}, FRESHNESS.old_s),
    ],
)
def test_the_older_a_title_the_longer_it_is_fresh_and_never_all_for_the_same_time(
    fields: dict[str, Any], usual_s: float
) -> None:
    times = {records.fresh_for(movie(**fields), NOW, FRESHNESS).total_seconds() for _ in range(100)}
    assert all(0.9 * usual_s <= seconds <= 1.1 * usual_s for seconds in times)
    assert len(times) > 50


def test_events_hold_what_other_services_keep() -> None:
    record = made(year=1999, genres=["Drama"], box_office_usd=9, poster_uri="https://x/p.jpg", plot="Long.")
    event = events_pb2.MovieChanged.FromString(records.changed_event(record.data, NOW))
    assert event.movie == movies_pb2.Movie(
        name="movies/tt0000001",
        title="A Title",
        year=1999,
        genres=["Drama"],
        box_office_usd=9,
        poster_uri="https://x/p.jpg",
        etag=record.etag,
    )
    assert event.change_time.ToDatetime(UTC) == NOW
    assert event.schema_version == 1


def test_partial_records_complete_each_other() -> None:
    listed = made(movies_pb2.SOURCE_CATALOGUE, genres=["Drama"], year=1998, title="Catalogue's")
    found = made(movies_pb2.SOURCE_OMDB_SEARCH, at=LATER, year=1999, poster_uri="https://x/p.jpg")
    merged = records.merged(stored(found), stored(listed), found)
    both = stored(merged)
    assert (both.title, both.year, list(both.genres), both.poster_uri) == (
        "A Title",
        1999,
        ["Drama"],
        "https://x/p.jpg",
    )
    assert both.source == movies_pb2.SOURCE_OMDB_SEARCH
    assert both.etag == merged.etag == records.etag_of(both)
    assert merged.partial
    assert {"catalogues", "title"} <= set(merged.words.split()), "both titles find it"


def test_partial_records_complete_each_other_in_every_kind_of_field() -> None:
    """Texts, numbers, lists, maps, messages, and lists of messages: each stands in one of the two alone."""
    values: dict[str, Any] = {
        "year": 1999,
        "genres": ["Drama"],
        "plot": "Long.",
        "ongoing": True,
        "imdb_rating": 8.1,
        "type": movies_pb2.MOVIE_TYPE_SERIES,
        "release_date": {"year": 1999, "month": 3},
        "awards": {"text": "1 win", "wins": 1},
        "directors": [{"person": "A"}],
        "external_ratings": [{"source": "S", "value": "1/2"}],
        "unparsed": {"Year": "soon"},
    }
    whole = movie(**values)
    for name in values:
        rest = {key: value for key, value in values.items() if key != name}
        for base, other in ((rest, {name: values[name]}), ({name: values[name]}, rest)):
            first, second = (made(movies_pb2.SOURCE_OMDB_SEARCH, **fields) for fields in (base, other))
            both = stored(records.merged(stored(first), stored(second), first))
            for field in ("source", "fetch_time", "etag"):
                both.ClearField(field)  # type: ignore[arg-type]
            assert both == whole, name


def test_where_two_partial_records_differ_the_first_has_the_say() -> None:
    base = movie(genres=["Drama"], release_date={"year": 1999}, unparsed={"Year": "soon", "A": "1"})
    other = movie(genres=["War"], release_date={"year": 2001, "day": 1}, unparsed={"Year": "late", "B": "2"})
    both = stored(records.merged(base, other, made(movies_pb2.SOURCE_OMDB_SEARCH)))
    assert list(both.genres) == ["Drama"]
    assert (both.release_date.year, both.release_date.day) == (1999, 0)
    assert both.unparsed == {"Year": "soon", "A": "1", "B": "2"}


def test_two_search_lines_with_unknown_fields_are_merged() -> None:
    line = {"Title": "A Title", "imdbID": "tt0000001", "Type": "movie", "Year": "soon", "Poster": "N/A"}
    first = records.from_search({**line, "Colour": "red"}, NOW)
    second = records.from_search({**line, "Sound": "loud", "Released": "31 Mar 1999"}, LATER)
    found = records.one_each([first, second])[1]
    assert stored(found).unparsed == {"Year": "soon", "Colour": "red", "Sound": "loud"}
    assert stored(found).release_date.month == 3


@pytest.mark.parametrize("full_at", [NOW, LATER])
def test_of_one_file_the_full_answer_stands_wherever_its_line_is(full_at: datetime) -> None:
    full, partial = made(at=full_at, plot="Long."), made(movies_pb2.SOURCE_CATALOGUE, at=NOW, year=1999)
    for order in ([full, partial], [partial, full], [partial, full, partial]):
        assert records.one_each(order)[1].data == full.data
