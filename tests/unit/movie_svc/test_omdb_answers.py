"""What OMDb's statuses and bodies mean: absence is only what it calls so itself."""

import json
from pathlib import Path

import pytest

from local.commands.movielens import data_folder
from mesh import clock
from movie_svc.omdb import body
from movie_svc.omdb.client import classify
from movie_svc.omdb.outcome import Absent, Failed, Failure, Found
from movie_svc.storing import records

HTML = (
    b"<!DOCTYPE html>\n<html><head><title>www.omdbapi.com | 522: Connection timed out</title></head></html>"
)


def refusal(text: str) -> bytes:
    return json.dumps({"Response": "False", "Error": text}).encode()


@pytest.mark.parametrize(
    "text",
    [
        "Movie not found!",
        "Series not found!",
        "Incorrect IMDb ID.",
        "Incorrect IMDb ID",
        "Error getting data.",
        "Series or season not found!",
        "Series or episode not found!",
        "Too many results.",
    ],
)
def test_absence_is_said_in_so_many_words(text: str) -> None:
    assert classify(200, refusal(text)) == Absent(text)


def test_every_recorded_refusal_is_an_absence() -> None:
    lines = recorded("errors_seen.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = {type(classify(200, json.dumps(json.loads(line)["body"]).encode())) for line in lines}
    assert outcomes == {Absent}


def test_recorded_searches_are_titles_all_of_them() -> None:
    files = list(recorded("search").glob("*.json"))
    assert files
    for file in files:
        outcome = classify(200, file.read_bytes())
        assert isinstance(outcome, Found)
        now = clock.utc_now()
        titles = [records.from_search(line, now) for line in outcome.body["Search"]]
        assert len({title.number for title in titles}) == 10
        assert all(title.title and title.year and title.type and not title.unparsed for title in titles)
        assert int(outcome.body["totalResults"]) > 400


def recorded(name: str) -> Path:
    folder = data_folder()
    if not (folder / "omdb" / name).exists():
        pytest.skip(f"no recorded OMDb answers in {folder}: set MARQUEE_DATA")
    return folder / "omdb" / name


@pytest.mark.parametrize(
    ("status", "raw", "failure"),
    [
        (401, refusal("Request limit reached!"), Failure.LIMITED),
        (200, refusal("Request limit reached!"), Failure.LIMITED),
        (401, refusal("Daily request limit reached!"), Failure.LIMITED),
        (401, refusal("Invalid API key!"), Failure.BAD_KEY),
        (200, refusal("Invalid API key!"), Failure.BAD_KEY),
        (401, refusal("No API key provided."), Failure.BAD_KEY),
        (403, HTML, Failure.CAPTCHA),
        (503, HTML, Failure.DOWN),
        (522, HTML, Failure.DOWN),
        (524, b"error code: 524", Failure.DOWN),
        (200, HTML, Failure.DOWN),
        (500, refusal("Movie not found!"), Failure.DOWN),
        (401, refusal("Movie not found!"), Failure.DOWN),
        (200, b'{"Title":"The Matrix","Year":"19', Failure.MALFORMED),
        (200, b"", Failure.MALFORMED),
        (200, b"[]", Failure.MALFORMED),
        (200, b"{}", Failure.MALFORMED),
        (200, refusal("Something new."), Failure.MALFORMED),
        (
            200,
            b'{"Response":"False",'
            b'"Error":"Conversion from string "3896198a" to type \'Double\' is not valid."}',
            Failure.MALFORMED,
        ),
        (200, b"{" + b" " * (1 << 20) + b"}", Failure.MALFORMED),
    ],
)
def test_nothing_else_says_anything_about_a_title(status: int, raw: bytes, failure: Failure) -> None:
    outcome = classify(status, raw)
    assert isinstance(outcome, Failed)
    assert outcome.failure is failure
    assert outcome.retry_after > 0


@pytest.mark.parametrize(
    ("raw", "plot"),
    [
        (b'{"Title":"T","Plot":"plain","Response":"True"}', "plain"),
        (b'\xef\xbb\xbf{"Title":"T","Plot":"with a mark","Response":"True"}', "with a mark"),
        (
            b'{"Title":"T","Plot":"\x08\x0b\x1a\x1d\x1f\tctrl","Response":"True"}',
            "\x08\x0b\x1a\x1d\x1f\tctrl",
        ),
        (rb'{"Title":"T","Plot":"it\s \x bad","Response":"True"}', r"it\s \x bad"),
        (rb'{"Title":"T","Plot":"fine \" \u00e9 \\ \n","Response":"True"}', 'fine " é \\ \n'),
        (b'{"Title":"T","Plot":"He says ""hello"" twice","Response":"True"}', 'He says "hello" twice'),
        (b'{"Title":"T","Plot":"an "open" quote, and more","Response":"True"}', 'an "open" quote, and more'),
        (b'{"Title":"T","Plot":"latin \xe9","Response":"True"}', "latin \ufffd"),
    ],
)
def test_bodies_that_are_not_quite_json_are_read(raw: bytes, plot: str) -> None:
    outcome = classify(200, raw)
    assert isinstance(outcome, Found)
    assert outcome.body["Plot"] == plot
    assert outcome.body["Title"] == "T"
    assert outcome.raw == raw


def test_a_list_survives_bad_quotes_beside_it() -> None:
    raw = (
        b'{"Title":"T","Plot":"an "open" quote","Ratings":[{"Source":"Metacritic","Value":"73/100"}],'
        b'"imdbID":"tt0000001","Response":"True"}'
    )
    assert body.read(raw) == {
        "Title": "T",
        "Plot": 'an "open" quote',
        "Ratings": [{"Source": "Metacritic", "Value": "73/100"}],
        "imdbID": "tt0000001",
        "Response": "True",
    }
