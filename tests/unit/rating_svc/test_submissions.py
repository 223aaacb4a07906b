"""What may be submitted, and what in the log can never be dealt with."""

import uuid

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from marquee.ratings.v1.events_pb2 import RatingSubmitted

from mesh.errors import MarqueeError
from rating_svc.submissions import (
    Poison,
    Submission,
    checked_request_id,
    checked_score,
    decode,
    encode,
)

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


@pytest.mark.parametrize("score", [0, -1, 11, 2**31 - 1])
def test_a_score_outside_1_to_10_is_refused_by_name(score: int) -> None:
    with pytest.raises(MarqueeError) as caught:
        checked_score(score)
    assert caught.value.reason == "INVALID_SCORE"
    assert caught.value.violations[0].field == "score"
    assert f"{score} is not a score" in caught.value.message


def test_a_request_id_is_a_uuid_in_its_usual_form_or_not_given() -> None:
    text = "01890A5D-ac96-774b-bcce-b302099a8057"
    assert checked_request_id(text) == uuid.UUID(text)
    assert checked_request_id("") is None
    for bad in ("x", text.replace("-", ""), "{" + text + "}", "urn:uuid:" + text, text + "\0", text[:-1]):
        with pytest.raises(MarqueeError) as caught:
            checked_request_id(bad)
        assert caught.value.reason == "INVALID_REQUEST_ID"
        assert caught.value.violations[0].field == "request_id"
        assert "must be a UUID" in caught.value.message
