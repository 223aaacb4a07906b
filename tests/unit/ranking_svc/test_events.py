"""Events: what is counted, and what is refused with which reason."""

import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marquee.movies.v1 import events_pb2 as movie_events_pb2
from marquee.movies.v1 import movies_pb2
from marquee.ratings.v1 import events_pb2

from mesh.kafka import Poison
from ranking_svc.events import facts_of, movie_change, rating_change
from ranking_svc.model import Change, Facts, deltas


def event(**fields: Any) -> bytes:
    """A serialized RatingChanged; a field given as None is left out."""
    made = {
        "schema_version": 1,
        "event_id": 7,
        "movie": "movies/tt0111161",
        "new_score": 9,
        "at": 1000,
        **fields,
    }
    at = made.pop("at")
    message = events_pb2.RatingChanged(**{name: value for name, value in made.items() if value is not None})
    if at is not None:
        message.submit_time.FromSeconds(at)
    return message.SerializeToString()


def test_a_vote_a_changed_vote_and_a_vote_taken_back() -> None:
    assert rating_change(event()) == Change(7, 111161, None, 9, 1000.0)
    assert rating_change(event(old_score=3)) == Change(7, 111161, 3, 9, 1000.0)
    assert rating_change(event(old_score=3, new_score=None)) == Change(7, 111161, 3, None, 1000.0)


def test_a_redriven_change_is_known_as_one() -> None:
    assert rating_change(event(event_id=1), redriven=True) == Change(1, 111161, None, 9, 1000.0, True)


def test_times_begin_with_1970_and_have_nine_digits() -> None:
    change = events_pb2.RatingChanged.FromString(event(at=0))
    assert rating_change(change.SerializeToString()).time == 0
    change.submit_time.nanos = 999_999_999
    assert 0.99 < rating_change(change.SerializeToString()).time < 1.01
    for seconds, nanos in ((-1, 0), (1, -1), (1, 1_000_000_000), (-1, 2_000_000_000)):
        change.submit_time.seconds, change.submit_time.nanos = seconds, nanos
        with pytest.raises(Poison, match=f"{seconds} s and {nanos} ns after 1970 is not a time") as caught:
            rating_change(change.SerializeToString())
        assert caught.value.reason == "TIME_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xff", "MALFORMED_MESSAGE"),
        (b"", "UNKNOWN_SCHEMA_VERSION"),
        (event(schema_version=2), "UNKNOWN_SCHEMA_VERSION"),
        (event(event_id=0), "NO_EVENT_ID"),
        (event(event_id=-1), "NO_EVENT_ID"),
        (event(movie="movies/tt1"), "INVALID_MOVIE_NAME"),
        (event(movie="tt0111161"), "INVALID_MOVIE_NAME"),
        (event(new_score=11), "SCORE_OUT_OF_RANGE"),
        (event(new_score=0), "SCORE_OUT_OF_RANGE"),
        (event(old_score=-1), "SCORE_OUT_OF_RANGE"),
        (event(new_score=None), "NO_CHANGE"),
        (event(at=None), "NO_SUBMIT_TIME"),
    ],
)
def test_what_can_not_be_counted_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Poison) as caught:
        rating_change(value)
    assert caught.value.reason == reason
    assert " " in str(caught.value), "an operator reads a sentence"


def test_a_vote_from_the_future_is_no_hotter_than_one_of_now() -> None:
    assert rating_change(event(at=int(time.time()) + 10_000_000)).time <= time.time()


def test_facts_leave_out_what_is_not_known() -> None:
    change = movie_events_pb2.MovieChanged(
        schema_version=1, movie=movies_pb2.Movie(name="movies/tt0111161", title="T", genres=["Drama"])
    )
    change.change_time.FromMilliseconds(1500)
    facts, at = movie_change(change.SerializeToString())
    assert (facts.title, facts.genres, facts.year, facts.box_office_usd, at) == (
        "T",
        ("Drama",),
        None,
        None,
        1.5,
    )


def movie(**fields: Any) -> movies_pb2.Movie:
    return movies_pb2.Movie(**{"name": "movies/tt0111161", "title": "T", **fields})


def test_facts_have_all_that_charts_show() -> None:
    shown = movie(year=1994, type=2, genres=["Drama", "Crime"], box_office_usd=28_767_189)
    assert facts_of(shown) == Facts(111161, "T", 1994, 2, ("Drama", "Crime"), 28_767_189)


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "t" * 1000, "year": 1, "type": 0, "box_office_usd": 0},
        {"genres": ["g" * 100] * 100, "year": 9999, "type": 32_767, "box_office_usd": 2**31 - 1},
    ],
)
def test_facts_may_be_as_long_and_as_large_as_the_database_keeps_them(fields: dict[str, Any]) -> None:
    facts = facts_of(movie(**fields))
    assert (facts.year, facts.type, facts.box_office_usd) == (
        fields["year"],
        fields["type"],
        fields["box_office_usd"],
    )


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"name": "movies/1"}, "INVALID_MOVIE_NAME", "not a movie's name"),
        ({"title": "t" * 1001}, "UNUSABLE_TEXT", "its title is longer than 1000"),
        ({"title": "T\0"}, "UNUSABLE_TEXT", "its title "),
        ({"genres": ["g" * 101]}, "UNUSABLE_TEXT", "its genre is longer than 100"),
        ({"genres": ["g"] * 101}, "TOO_MANY_GENRES", "101 genres; 100 are the most"),
        ({"year": 0}, "YEAR_OUT_OF_RANGE", "0 is not a year from 1 to 9999"),
        ({"year": 10_000}, "YEAR_OUT_OF_RANGE", "10000 is not a year"),
        ({"type": 40_000}, "TYPE_OUT_OF_RANGE", "40000 is not the number"),
        ({"type": -1}, "TYPE_OUT_OF_RANGE", "-1 is not the number"),
        ({"box_office_usd": -1}, "BOX_OFFICE_OUT_OF_RANGE", "-1 US$ can't be kept"),
    ],
)
def test_facts_that_no_chart_could_show_are_refused_with_their_reason(
    fields: dict[str, Any], reason: str, said: str
) -> None:
    with pytest.raises(Poison, match=re.escape(said)) as caught:
        facts_of(movie(**fields))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("value", "reason"), [(b"\xff\xff", "MALFORMED_MESSAGE"), (b"", "UNKNOWN_SCHEMA_VERSION")]
)
def test_what_is_no_message_of_facts_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Poison) as caught:
        movie_change(value)
    assert caught.value.reason == reason
    assert " " in str(caught.value)


Ratings = dict[tuple[int, int], int]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Change], Ratings]:
    """Changes of some users' ratings, each from the score before, and what they come to."""
    current: dict[tuple[int, int], int | None] = {}
    made = []
    for number in range(draw(st.integers(0, 60))):
        rating = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
        old = current.get(rating)
        new = draw(st.one_of(st.none(), st.integers(1, 10)) if old else st.integers(1, 10))
        current[rating] = new
        made.append(Change(number + 1, rating[1], old, new, float(number)))
    return made, {rating: score for rating, score in current.items() if score is not None}


@given(histories(), st.data())
def test_deltas_add_up_to_a_recount_in_any_order_and_any_batches(
    drawn: tuple[list[Change], Ratings], data: st.DataObject
) -> None:
    history, final = drawn
    recount = {change.movie: Counter[int]() for change in history}
    for (_, movie), score in final.items():
        recount[movie][score] += 1
    shuffled = data.draw(st.permutations(history))
    cut = data.draw(st.integers(0, len(shuffled)))
    summed: dict[int, list[int]] = {}
    for batch in (shuffled[:cut], shuffled[cut:]):
        for movie, delta in deltas(batch).items():
            counts = summed.setdefault(movie, [0] * 10)
            summed[movie] = [a + b for a, b in zip(counts, delta.counts, strict=True)]
    assert summed == {movie: [counter[score] for score in range(1, 11)] for movie, counter in recount.items()}


@given(histories())
def test_movies_come_in_ascending_order(drawn: tuple[list[Change], Ratings]) -> None:
    movies = list(deltas(drawn[0]))
    assert movies == sorted(movies)


def test_only_new_votes_and_votes_taken_back_change_the_heat() -> None:
    delta = deltas([Change(1, 5, None, 7, 10.0), Change(2, 5, 7, 8, 20.0), Change(3, 5, 8, None, 30.0)])[5]
    assert (delta.came, delta.went) == ([10.0], [30.0])
