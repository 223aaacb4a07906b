"""CSV files as people have them: what can't be read is told with its place, and the rest goes on."""

from pathlib import Path

import pytest

from mesh import tables

COLUMNS = ("movieId", "title")


def read(path: Path, content: bytes) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    file = path / "movies.csv"
    file.write_bytes(content)
    told: list[str] = []
    passed = tables.PassedOver(told.append)
    found = list(tables.rows(file, COLUMNS, passed))
    assert passed.count == len(told)
    return found, told


@pytest.mark.parametrize(
    "content",
    [
        b"movieId,title\n1,A\n",
        b"\xef\xbb\xbfmovieId,title\r\n1,A\r\n",
        b'\xef\xbb\xbf"movieId","title"\n"1","A"',
        b"\n movieId , title \n\n 1 , A \n",
        b"title,extra,movieId\nA,x,1\n",
        b"movieId,title\n1,A\n,\n",
    ],
)
def test_forms_of_the_same_table(tmp_path: Path, content: bytes) -> None:
    found, told = read(tmp_path, content)
    assert [(row["movieId"], row["title"]) for _, row in found] == [("1", "A")]
    assert told == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2", "it has 1 columns, not 2"),
        (b"2,A,B", "it has 3 columns, not 2"),
        (b"2,Toy Story, The", "it has 3 columns, not 2"),
        (b'2,"A', "it is not CSV: unexpected end of data"),
        (b'2,"A"b', "it is not CSV: ',' expected after '\"'"),
        (b"2,Am\xe9lie", "it is not UTF-8 at byte 5"),
        (b"2," + b"x" * 200_000, "it is not CSV: field larger than field limit (131072)"),
    ],
)
def test_a_line_that_can_not_be_read_is_told_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    found, told = read(tmp_path, b"movieId,title\n1,A\n" + line + b"\n3,C\n")
    assert [(number, row["movieId"]) for number, row in found] == [(2, "1"), (4, "3")]
    assert told == [f"movies.csv, line 3: {reason}"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "movies.csv is empty"),
        (b"\n\n", "movies.csv is empty"),
        (b"id,title\n1,A\n", "movies.csv has no column movieId: its first line is 'id,title'"),
        (
            b"movieId;title\n1;A\n",
            "movies.csv has no column movieId, title: its first line is 'movieId;title'",
        ),
        ("movieId,title\n".encode("utf-16"), "movies.csv is in UTF-16: save it as UTF-8"),
        (b"\x89PNG\r\n", "movies.csv, line 1: it is not UTF-8 at byte 1"),
    ],
)
def test_another_file_is_refused_as_a_whole(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(tables.TableError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == reason


def test_a_file_full_of_junk_does_not_flood_the_terminal(tmp_path: Path) -> None:
    told: list[str] = []
    passed = tables.PassedOver(told.append)
    for line in range(1, 1001):
        passed.add(tmp_path / "junk.csv", line, "it is junk")
    assert passed.count == 1000
    assert len(told) == 101
    assert told[99] == "junk.csv, line 100: it is junk"
