"""Resource names: one form each, and a refusal that names the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import names
from mesh.errors import MarqueeError

numbers = st.integers(1, 999_999_999)
users = st.from_regex(r"[A-Za-z0-9._@|:\-]{1,128}", fullmatch=True)


@given(numbers)
def test_a_movie_has_one_name_and_a_name_one_movie(number: int) -> None:
    assert names.movie_number(names.movie_name(number)) == number
    assert names.score_number(names.score_name(number)) == number
    assert names.imdb_number(names.imdb_id(number)) == number


@given(st.from_regex(r"movies/tt[0-9]{1,11}", fullmatch=True))
def test_of_many_ways_to_write_a_number_one_is_a_name(text: str) -> None:
    try:
        number = names.movie_number(text)
    except MarqueeError:
        return
    assert names.movie_name(number) == text


@given(users, numbers)
def test_a_rating_is_a_user_and_a_movie(user: str, number: int) -> None:
    assert names.rating_parts(names.rating_name(user, number)) == (user, number)
    assert names.is_user(user)
    assert names.user_of(f"users/{user}") == user


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tt0111161",
        "movies/",
        "movies/tt111161",
        "movies/tt01111610",
        "movies/tt1234567890",
        "movies/TT0111161",
        "movies/tt0111161/score",
        "movies/tt0111161\n",
        "movies/tt٠١١١١٦١",
        "xmovies/tt0111161",
    ],
)
def test_what_is_no_movie_is_refused_and_the_field_named(text: str) -> None:
    with pytest.raises(MarqueeError) as caught:
        names.movie_number(text, "movie")
    assert caught.value.reason == "INVALID_MOVIE_NAME"
    assert [violation.field for violation in caught.value.violations] == ["movie"]


def test_each_kind_of_name_is_refused_as_what_it_should_be() -> None:
    for parse, reason in (
        (names.score_number, "INVALID_SCORE_NAME"),
        (names.rating_parts, "INVALID_RATING_NAME"),
        (names.user_of, "INVALID_USER_NAME"),
    ):
        with pytest.raises(MarqueeError) as caught:
            parse("movies/tt0111161")
        assert caught.value.reason == reason


@pytest.mark.parametrize("user", ["", "a b", "a/b", "a\0", "ä", "x" * 129, "a\n"])
def test_what_can_not_stand_in_a_name_is_no_user(user: str) -> None:
    assert not names.is_user(user)


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(MarqueeError) as caught:
        names.movie_number("movies/" + "x" * 100_000)
    assert len(caught.value.message) < 300
