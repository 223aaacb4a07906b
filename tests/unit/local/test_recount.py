"""The demo's check would notice a wrong chart."""

import csv
from pathlib import Path
from typing import Any

import pytest

from local.commands import recount
from local.commands.movielens import Rating, open_dataset
from local.stack.layout import StackError
from mesh.tables import PassedOver

RATINGS = [
    Rating("a", "tt0000001", 10, 1),
    Rating("a", "tt0000002", 4, 2),
    Rating("b", "tt0000001", 8, 3),
    Rating("b", "tt0000003", 9, 4),
    Rating("c", "tt0000004", 9, 5),
]


def entries(rows: list[recount.Row]) -> list[dict[str, Any]]:
    return [
        {
            "rank": place,
            "movie": f"movies/{row.movie}",
            "votes": row.votes,
            "mean": row.mean,
            "weighted": row.weighted,
        }
        for place, row in enumerate(rows, start=1)
    ]


def test_the_weighted_score_is_the_published_formulas() -> None:
    rows = {row.movie: row for row in recount.top_rated(RATINGS, 2.0, 8.0)}
    # v/(v+m)·R + m/(v+m)·C with v = 2, R = 9, m = 2, C = 8
    assert rows["tt0000001"].weighted == pytest.approx(2 / 4 * 9 + 2 / 4 * 8)


def test_equal_scores_are_ordered_by_votes_and_then_by_id() -> None:
    ordered = [row.movie for row in recount.top_rated(RATINGS, 2.0, 8.0)]
    assert ordered == ["tt0000001", "tt0000003", "tt0000004", "tt0000002"]


def test_the_last_rating_of_a_user_counts() -> None:
    again = [*RATINGS, Rating("a", "tt0000001", 1, 6)]
    assert recount.histograms(again)["tt0000001"] == [1, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_the_mean_is_over_votes_not_movies() -> None:
    assert recount.mean(RATINGS) == pytest.approx((10 + 4 + 8 + 9 + 9) / 5)


def test_the_recounts_own_chart_has_no_differences() -> None:
    rows = recount.top_rated(RATINGS, 2.0, 8.0)
    assert recount.differences(entries(rows), rows) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("votes", 7), ("mean", 8.999), ("weighted", 8.501), ("rank", 2), ("movie", "movies/tt0000009")],
)
def test_any_wrong_field_is_a_difference(field: str, value: object) -> None:
    rows = recount.top_rated(RATINGS, 2.0, 8.0)
    wrong = entries(rows)
    wrong[0][field] = value
    assert len(recount.differences(wrong, rows)) == 1


def test_two_neighbours_that_changed_places_are_differences() -> None:
    rows = recount.top_rated(RATINGS, 2.0, 8.0)
    swapped = entries([rows[1], rows[0], *rows[2:]])
    assert len(recount.differences(swapped, rows)) == 2


def test_a_missing_movie_is_a_difference() -> None:
    rows = recount.top_rated(RATINGS, 2.0, 8.0)
    assert "the chart has 3 movies, the recount 4" in recount.differences(entries(rows)[:-1], rows)


def write_movielens(folder: Path) -> None:
    for name, lines in {
        "ratings.csv": [
            ["userId", "movieId", "rating", "timestamp"],
            ["1", "7", "0.5", "200"],
            ["1", "8", "5.0", "100"],
        ],
        "links.csv": [["movieId", "imdbId", "tmdbId"], ["7", "0114709", "862"], ["8", "12345678", ""]],
        "movies.csv": [["movieId", "title", "genres"]],
    }.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)


def test_movielens_half_stars_become_scores_in_the_order_they_were_given(tmp_path: Path) -> None:
    write_movielens(tmp_path)
    assert open_dataset(tmp_path).by_user() == {
        "ml-1": [Rating("ml-1", "tt12345678", 10, 100), Rating("ml-1", "tt0114709", 1, 200)]
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,7", "it has 2 columns, not 4"),
        ("1,9,5.0,100", "movieId '9' has no IMDb id in links.csv"),
        ("1,7,five,100", "rating 'five' is not 0.5, 1.0, … 5.0"),
        ("1,7,nan,100", "rating 'nan' is not 0.5, 1.0, … 5.0"),
        ("1,7,0,100", "rating '0' is not 0.5, 1.0, … 5.0"),
        ("1,7,5.5,100", "rating '5.5' is not 0.5, 1.0, … 5.0"),
        ("1,7,3.3,100", "rating '3.3' is not 0.5, 1.0, … 5.0"),
        ("1,7,5.0,now", "timestamp 'now' is not in seconds since 1970"),
        (",7,5.0,100", "userId '' is not a user"),
        ("a b,7,5.0,100", "userId 'a b' is not a user"),
    ],
)
def test_a_line_that_is_no_rating_is_told_and_the_rest_read(tmp_path: Path, line: str, reason: str) -> None:
    write_movielens(tmp_path)
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + line.encode() + b"\n2,8,4,300\n")
    told: list[str] = []
    passed = PassedOver(told.append)
    assert len(open_dataset(tmp_path, passed=passed).ratings) == 3
    assert told == [f"ratings.csv, line 4: {reason}"]
    assert passed.count == 1


def test_a_folder_without_movielens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"does not hold ratings\.csv"):
        open_dataset(tmp_path)


def test_without_data_there_is_a_sample_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_DATA", str(tmp_path))
    sample = open_dataset(None)
    assert "made-up" in sample.name
    assert sample.folder is None
    assert {rating.score for rating in sample.ratings} <= set(range(1, 11))
    assert sample.ratings == open_dataset(None).ratings
