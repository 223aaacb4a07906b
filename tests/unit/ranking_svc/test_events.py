"""Events: what is counted, and what is refused with which reason."""

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
from ranking_svc.events import deltas, movie_change, rating_change
from ranking_svc.model import Change


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
