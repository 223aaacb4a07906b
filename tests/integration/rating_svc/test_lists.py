"""A user's ratings in pages, batches and imports."""

import uuid
from collections.abc import AsyncIterator

import grpc
from marquee.ratings.v1 import ratings_pb2 as pb

from tests.support.errors import refused
from tests.support.ratings import Service, User, mine, movie_name, unrated


async def test_a_batch_takes_what_is_good_and_says_what_is_not(
    service: Service, pair: tuple[User, User]
) -> None:
    user, _ = pair
    numbers = [next(unrated) for _ in range(4)]
    requests = [
        pb.RateMovieRequest(name=mine(numbers[0]), score=7),
        pb.RateMovieRequest(name=mine(numbers[1]), score=11),
        pb.RateMovieRequest(name="users/somebody/ratings/tt0111161", score=5),
        pb.RateMovieRequest(name="nonsense", score=5),
        pb.RateMovieRequest(name=mine(numbers[2]), score=5, request_id="nonsense"),
        pb.RateMovieRequest(name=mine(numbers[3]), score=5, request_id=str(uuid.uuid4())),
        pb.RateMovieRequest(name=mine(numbers[0]), score=8),
    ]
    answer = await user.stub.BatchRateMovies(
        pb.BatchRateMoviesRequest(parent="users/me", requests=requests), **user._call({})
    )
    assert [result.name for result in answer.results] == [request.name for request in requests]
    assert [result.reason for result in answer.results] == [
        "",
        "INVALID_SCORE",
        "NOT_YOUR_RATING",
        "INVALID_RATING_NAME",
        "INVALID_REQUEST_ID",
        "",
        "",
    ]
    assert all(result.message for result in answer.results if result.reason)
    assert await user.export() == {movie_name(numbers[0]): 8, movie_name(numbers[3]): 5}
    too_many = pb.BatchRateMoviesRequest(parent="users/me", requests=[requests[0]] * 501)
    details = await refused(user.stub.BatchRateMovies(too_many, **user._call({})))
    assert (details.code, details.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["requests"])


async def test_an_import_of_thousands_comes_out_again(pair: tuple[User, User]) -> None:
    here, there = pair
    first = next(unrated) + 50_000
    wishes = [(first + i, i % 12) for i in range(3000)]  # scores 0 and 11 are none

    async def messages() -> AsyncIterator[pb.ImportRatingsRequest]:
        for number, score in wishes:
            yield pb.ImportRatingsRequest(movie=movie_name(number), score=score)
        yield pb.ImportRatingsRequest(movie="movies/x" + "y" * 100_000, score=5)

    answer = await here.stub.ImportRatings(messages(), **here._call({"timeout": 60}))
    assert (answer.imported, answer.failed) == (2500, 501)
    assert len(answer.failures) == 100
    assert {failure.reason for failure in answer.failures} == {"INVALID_SCORE"}
    expected = {movie_name(number): score for number, score in wishes if 1 <= score <= 10}
    assert await there.export() == expected
    assert len(await there.list_all(page_size=1000)) == 2500


async def test_a_list_can_be_narrowed_by_score_and_walked_in_pages(
    service: Service, pair: tuple[User, User]
) -> None:
    here, there = pair
    numbers = [next(unrated) for _ in range(25)]
    for i, number in enumerate(numbers):
        await here.rate(number, i % 10 + 1)
    await service.stored(here, numbers[-1], 24 % 10 + 1)
    newest_first = [(n, i % 10 + 1) for i, n in reversed(list(enumerate(numbers)))]
    for size in (1, 4, 100):
        listed = await there.list_all(page_size=size, min_score=3, max_score=7)
        assert [(rating.movie, rating.score) for rating in listed] == [
            (movie_name(number), score) for number, score in newest_first if 3 <= score <= 7
        ]
    token = (await here.list_page(page_size=3)).next_page_token
    other, _ = service.user()
    for call in (
        here.list_page(page_size=3, page_token=token, min_score=2),
        other.list_page(page_size=3, page_token=token),
        here.list_page(page_token=token[:8] + ("A" if token[8] != "A" else "B") + token[9:]),
        here.list_page(page_token="x" * 5000),
    ):
        details = await refused(call)
        assert (details.reason, details.fields) == ("INVALID_PAGE_TOKEN", ["page_token"])
    details = await refused(here.list_page(min_score=8, max_score=3))
    assert details.fields == ["min_score"]
