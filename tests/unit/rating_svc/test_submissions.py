"""What may be submitted, and what in the log can never be processed."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from marquee.ratings.v1.events_pb2 import RatingSubmitted

from mesh.kafka import Poison
from rating_svc.submissions import Submission, decode, encode

GOOD = {
    "schema_version": 1,
    "request_id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "user": "ann",
    "movie": "movies/tt0111161",
    "score": 9,
    "submit_time": Timestamp(seconds=1_700_000_000),
}


@given(
    st.builds(
        Submission,
        user=st.from_regex(r"\A[A-Za-z0-9._@|:-]{1,128}\Z"),
        movie=st.integers(1, 999_999_999),
        score=st.one_of(st.none(), st.integers(1, 10)),
        request_id=st.uuids(),
        submit_us=st.integers(946_684_800_000_000, 4_102_444_799_999_999),
    )
)
def test_what_is_written_into_the_log_is_read_back_the_same(submission: Submission) -> None:
    assert decode(encode(submission)) == submission


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "UNKNOWN_SCHEMA_VERSION"),
        ({"schema_version": 0}, "UNKNOWN_SCHEMA_VERSION"),
        ({"score": 0}, "INVALID_SCORE"),
        ({"score": 11}, "INVALID_SCORE"),
        ({"score": -1}, "INVALID_SCORE"),
        ({"movie": "movies/111161"}, "INVALID_MOVIE_NAME"),
        ({"movie": ""}, "INVALID_MOVIE_NAME"),
        ({"user": ""}, "INVALID_USER"),
        ({"user": "a" * 129}, "INVALID_USER"),
        ({"user": "nul\0"}, "INVALID_USER"),
        ({"request_id": ""}, "INVALID_REQUEST_ID"),
        ({"request_id": "not a uuid"}, "INVALID_REQUEST_ID"),
        ({"submit_time": None}, "INVALID_SUBMIT_TIME"),
        ({"submit_time": Timestamp(seconds=946_684_799)}, "INVALID_SUBMIT_TIME"),
        ({"submit_time": Timestamp(seconds=4_102_444_800)}, "INVALID_SUBMIT_TIME"),
        ({"submit_time": Timestamp(seconds=253_402_300_799)}, "INVALID_SUBMIT_TIME"),
    ],
)
def test_an_event_that_breaks_a_rule_is_poison_with_its_reason(
    change: dict[str, object], reason: str
) -> None:
    with pytest.raises(Poison) as caught:
        decode(RatingSubmitted(**{**GOOD, **change}).SerializeToString())  # type: ignore[arg-type]
    assert caught.value.reason == reason
    assert " " in str(caught.value), "an operator reads a sentence"


def test_what_is_no_message_is_poison_with_its_reason() -> None:
    with pytest.raises(Poison) as caught:
        decode(b"\xff")
    assert (caught.value.reason, str(caught.value)) == (
        "UNPARSABLE",
        "the value is not a RatingSubmitted message",
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_submission_or_poison(value: bytes) -> None:
    try:
        submission = decode(value)
    except Poison:
        return
    assert submission.score is None or 1 <= submission.score <= 10


def test_an_event_without_a_score_takes_the_rating_back() -> None:
    event = RatingSubmitted(**GOOD)  # type: ignore[arg-type]
    event.ClearField("score")
    assert decode(event.SerializeToString()).score is None
