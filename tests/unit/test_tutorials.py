"""What tutorials say is done to the letter, and a page that can't be followed is refused."""

from pathlib import Path

import pytest

from tests.support.tutorials import TutorialError, follow, steps

CREATE = "Create **a/b.py**:\n\n```python\nx = 1\n```\n"
APPEND = "Append to **a/b.py**:\n\n```python\ny = 2\n```\n"
REPLACE = "In **a/b.py**, replace:\n\n```python\nx = 1\n```\n\nwith:\n\n```python\nx = 3\n```\n"


def test_steps_are_done_in_the_order_of_the_page(tmp_path: Path) -> None:
    shell = "```sh\nmake protos\n```\n"
    follow(steps("\n".join((CREATE, shell, APPEND, "Some words.", REPLACE))), tmp_path)
    assert (tmp_path / "a" / "b.py").read_text() == "x = 3\ny = 2\n"


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("```python\nx = 1\n```\n", "no step is about"),
        (CREATE + "\n```python\nx = 1\n```\n", "no step is about"),
        ("Create **a.py**:\n\nwords\n", "have their blocks"),
        (REPLACE.partition("with:")[0], "has 1 blocks"),
        (CREATE + "\nwith:\n\n```python\nx = 1\n```\n", "has 2 blocks"),
    ],
)
def test_a_page_that_can_not_be_followed_is_refused(page: str, wrong: str) -> None:
    with pytest.raises(TutorialError, match=wrong):
        steps(page)


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        (CREATE + CREATE, "is there already"),
        (APPEND, "is not there"),
        (CREATE + REPLACE + REPLACE, "0 times"),
        (CREATE.replace("x = 1", "x = 1\nx = 1") + REPLACE, "2 times"),
    ],
)
def test_a_step_that_does_not_fit_the_files_is_refused(tmp_path: Path, page: str, wrong: str) -> None:
    found = steps(page)
    with pytest.raises(TutorialError, match=wrong):
        follow(found, tmp_path)
