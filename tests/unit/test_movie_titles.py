"""Titles are the same whatever their case, accents, punctuation, and the place of their article."""

import pytest

from movie_svc import titles


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Matrix, The", "The Matrix"),
        ("the  MATRIX", "The Matrix"),
        ("Amelie", "Amélie"),
        ("Misérables, Les", "Les Miserables"),
        ("Avventura, L'", "L'Avventura"),
        ("Thelma and Louise", "Thelma & Louise"),
        ("Ocean's Eleven", "Ocean’s Eleven"),
        ("Spider-Man", "Spider Man"),
        ("Beautiful Mind, A", "A Beautiful Mind"),
        ("O Brother Where Art Thou", "O Brother, Where Art Thou?"),
        ("Kon-Tiki", "kon tiki"),
        ("Smørrebrød", "Smorrebrod"),
    ],
)
def test_the_same_title(one: str, other: str) -> None:
    assert titles.key(one) == titles.key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Matrix", "The Matrix: The Movie Special"),
        ("The Matrix", "The Matrix Reloaded"),
        ("Die Hard", "Hard"),
        ("It", "It Follows"),
        ("$", "$$"),
        ("!!!", "???"),
        ("The The", "The"),
    ],
)
def test_another_title(one: str, other: str) -> None:
    assert titles.key(one) != titles.key(other)


def test_titles_sort_without_their_article() -> None:
    assert sorted(["The Matrix", "A Bug's Life", "Nashville"], key=titles.key) == [
        "A Bug's Life",
        "The Matrix",
        "Nashville",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Matrix, The", "The Matrix"),
        ("École de la chair, L'", "L'École de la chair"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Monsters, Inc.", "Monsters, Inc."),
        ("Crouching Tiger, Hidden Dragon", "Crouching Tiger, Hidden Dragon"),
    ],
)
def test_titles_are_shown_with_the_article_in_front(text: str, shown: str) -> None:
    assert titles.display(text) == shown
