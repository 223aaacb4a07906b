"""RankingService over a real connection, from charts that are made here."""

import time

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from marquee.rankings.v1 import rankings_pb2 as pb
from marquee.rankings.v1 import rankings_pb2_grpc

from ranking_svc import metrics, service
from tests.support.errors import Details
from tests.unit.ranking_svc.charts import Here


async def test_a_score_says_everything(stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    score = await stub.GetScore(pb.GetScoreRequest(name="movies/tt0068646/score"))
    assert (score.name, score.movie) == ("movies/tt0068646/score", "movies/tt0068646")
    assert (score.votes, score.mean, score.rank) == (40, 9.0, 2)
    assert score.weighted == (360 + 20 * 7.0) / 60
    assert list(score.histogram) == [0] * 8 + [40, 0]
    assert (score.formula.prior_votes, score.formula.prior_mean) == (20, 7)
    assert abs(score.update_time.ToMicroseconds() / 1e6 - (time.time() - 86_400)) < 600


async def test_an_unrated_movie_has_zero_votes_and_no_mean(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    for name in ("movies/tt9999999/score", "movies/tt0000007/score"):
        score = await stub.GetScore(pb.GetScoreRequest(name=name))
        assert (score.name, score.votes, list(score.histogram)) == (name, 0, [0] * 10)
        assert score.movie == name.removesuffix("/score")
        assert not any(score.HasField(field) for field in ("mean", "weighted", "rank", "update_time"))
        assert score.formula.prior_mean == 7


async def test_top_rated_lists_the_best_first(stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    page = await stub.ListTopRated(pb.ListTopRatedRequest())
    assert [(e.rank, e.movie) for e in page.entries] == [
        (1, "movies/tt0111161"),
        (2, "movies/tt0068646"),
        (3, "movies/tt0000005"),
        (4, "movies/tt0000006"),
    ]
    first, third = page.entries[0], page.entries[2]
    assert (first.title, first.year, list(first.genres), first.votes) == (
        "The Shawshank Redemption",
        1994,
        ["Drama"],
        60,
    )
    assert (first.mean, first.weighted) == (580 / 60, (580 + 20 * 7.0) / 80)
    assert (third.title, third.HasField("year")) == ("", False)
    assert not first.HasField("heat")
    assert not first.HasField("box_office_usd")
    assert page.formula.prior_votes == 20
    assert page.next_page_token == ""


async def test_filters_combine_and_case_does_not_matter(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    async def movies(**fields: object) -> list[int]:
        page = await stub.ListTopRated(pb.ListTopRatedRequest(**fields))  # type: ignore[arg-type]
        return [int(entry.movie.removeprefix("movies/tt")) for entry in page.entries]

    assert await movies(genre="drama") == [111161, 68646]
    for spelled in (" Drama", "drama\t", "\u00a0DRAMA ", "\u3000Drama"):
        assert await movies(genre=spelled) == [111161, 68646], spelled
    assert await movies(genre="  ") == await movies()
    assert await movies(genre="DRAMA", decade=1970) == [68646]
    assert await movies(genre="Drama", decade=1970, type=2) == []
    assert await movies(type=2) == [6]
    assert await movies(min_votes=41) == [111161]
    assert await movies(genre="Never Heard Of") == []


async def test_most_voted_and_box_office_have_orders_of_their_own(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    voted = await stub.ListMostVoted(pb.ListMostVotedRequest())
    assert [entry.votes for entry in voted.entries] == [60, 40, 3, 1]
    taken = await stub.ListBoxOffice(pb.ListBoxOfficeRequest())
    assert [(e.title, e.box_office_usd, e.votes) for e in taken.entries] == [
        ("The Godfather", 134_966_411, 40),
        ("The Shawshank Redemption", 28_341_469, 60),
        ("Unrated", 100, 0),
    ]
    assert not taken.entries[2].HasField("mean")
    # Only the chart by the weighted score has a formula, and a field for it.
    assert not UnknownFieldSet(voted)
    assert not UnknownFieldSet(taken)


async def test_a_movie_whose_votes_were_all_taken_back_stays_in_the_chart_of_box_offices(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    here.change(68646)
    taken = await stub.ListBoxOffice(pb.ListBoxOfficeRequest())
    first = taken.entries[0]
    assert (first.title, first.votes, first.HasField("mean")) == ("The Godfather", 0, False)
    score = await stub.GetScore(pb.GetScoreRequest(name="movies/tt0068646/score"))
    assert (score.votes, score.HasField("mean"), score.HasField("rank")) == (0, False, False)


async def test_trending_fades_and_leaves_out_what_has_cooled(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    day = await stub.ListTrending(pb.ListTrendingRequest(window=pb.TRENDING_WINDOW_DAY))
    heats = {entry.movie: entry.heat for entry in day.entries}
    assert list(heats) == ["movies/tt0111161", "movies/tt0068646", "movies/tt0000005"]
    assert heats["movies/tt0068646"] == pytest.approx(20, rel=1e-3)
    assert heats["movies/tt0000005"] == pytest.approx(1, rel=1e-3)


async def test_each_window_of_trending_has_a_list_of_its_own(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Made again: what is made when a module is imported, `make test-mutations` can't change.
    monkeypatch.setattr(service, "_TRENDING", tuple(service._trending(window) for window in range(3)))
    windows = (pb.TRENDING_WINDOW_DAY, pb.TRENDING_WINDOW_WEEK, pb.TRENDING_WINDOW_MONTH)
    for window, days in zip(windows, (1, 7, 30), strict=True):
        found, token = [], ""
        for _ in range(3):
            page = await stub.ListTrending(
                pb.ListTrendingRequest(window=window, page_size=1, page_token=token)
            )
            found += page.entries
            token = page.next_page_token
        assert token == "", "what cooled over a year ago is not trending"
        assert [(entry.rank, entry.movie) for entry in found] == [
            (1, "movies/tt0111161"),
            (2, "movies/tt0068646"),
            (3, "movies/tt0000005"),
        ]
        assert found[1].heat == pytest.approx(40 * 2 ** (-1 / days), rel=1e-3)


async def test_pages_follow_one_another(stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    ranks, token = [], ""
    for _ in range(3):
        page = await stub.ListTopRated(pb.ListTopRatedRequest(page_size=2, page_token=token))
        ranks += [entry.rank for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert ranks == [1, 2, 3, 4]


async def refusal(call: "grpc.aio.UnaryUnaryCall[object, object]") -> tuple[str, str]:
    """(reason, field) of an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return Details(caught.value).reason, (caught.value.details() or "").partition(":")[0]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"genre": "x" * 101}, "genre"),
        ({"genre": "Dra\0ma"}, "genre"),
        ({"decade": 1994}, "decade"),
        ({"decade": 0}, "decade"),
        ({"decade": 2110}, "decade"),
        ({"type": 99}, "type"),
        ({"min_votes": -1}, "min_votes"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "forged"}, "page_token"),
        ({"page_token": "AAAAAAAAAAAAAAAAWzEsMiwzLDRd"}, "page_token"),
    ],
)
async def test_bad_requests_name_the_field(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub", fields: dict[str, object], field: str
) -> None:
    request = pb.ListTopRatedRequest(**fields)  # type: ignore[arg-type]
    assert (await refusal(stub.ListTopRated(request)))[1] == field


async def test_an_unknown_window_is_refused(stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    assert (await refusal(stub.ListTrending(pb.ListTrendingRequest(window=9))))[1] == "window"  # type: ignore[arg-type]


async def test_a_name_that_is_no_score_is_refused(stub: "rankings_pb2_grpc.RankingServiceAsyncStub") -> None:
    for name in ("movies/tt0068646", "movies/tt1/score", ""):
        found = await refusal(stub.GetScore(pb.GetScoreRequest(name=name)))
        assert found == ("INVALID_SCORE_NAME", "name")


async def test_a_token_is_good_for_its_own_list_only(
    stub: "rankings_pb2_grpc.RankingServiceAsyncStub",
) -> None:
    token = (await stub.ListTopRated(pb.ListTopRatedRequest(page_size=1))).next_page_token
    reused = pb.ListTopRatedRequest(page_size=1, page_token=token, genre="Drama")
    assert (await refusal(stub.ListTopRated(reused)))[0] == "INVALID_PAGE_TOKEN"
    other = pb.ListMostVotedRequest(page_size=1, page_token=token)
    assert (await refusal(stub.ListMostVoted(other)))[0] == "INVALID_PAGE_TOKEN"


async def test_answers_may_be_kept_until_they_change(
    here: Here, stub: "rankings_pb2_grpc.RankingServiceAsyncStub"
) -> None:
    async def etag() -> str:
        call = stub.ListTopRated(pb.ListTopRatedRequest())
        await call
        headers = dict(await call.trailing_metadata())
        assert headers["cache-control"] == "public, max-age=1"
        return str(headers["etag"])

    def counted() -> list[float]:
        return [metrics.PAGES.labels(how)._value.get() for how in ("built", "ready")]

    built, ready = counted()
    before = await etag()
    assert await etag() == before
    assert counted() == [built + 1, ready + 1]
    here.change(5, 10, 10)
    assert await etag() != before
