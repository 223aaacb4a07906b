"""A small built-in catalogue: facts of well-known titles, for a stack without recorded answers."""

import csv
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

_OF_MOVIES: Final = ("DVD", "BoxOffice", "Production", "Website")


def bodies() -> Iterator[dict[str, object]]:
    """Each built-in title as OMDb would answer it. Votes are rounded; plots are made from the facts."""
    text = files(__package__).joinpath("films.csv").read_text(encoding="utf-8")
    for facts in csv.DictReader(text.splitlines()):
        yield _answer(facts)


def _answer(facts: dict[str, str]) -> dict[str, object]:
    known = {field: value or "N/A" for field, value in facts.items()}
    maker = f" by {facts['Director']}" if facts["Director"] else ""
    seasons = known.pop("totalSeasons")
    body: dict[str, object] = {
        **dict.fromkeys(("Writer", "Language", "Awards", "Poster", "Metascore"), "N/A"),
        **known,
        "Plot": f"{facts['Title']}: a {facts['Type']}{maker} with {facts['Actors']}.",
        "Ratings": [{"Source": "Internet Movie Database", "Value": f"{facts['imdbRating']}/10"}],
        "Response": "True",
    }
    if facts["Type"] == "series":
        body["totalSeasons"] = seasons
    for field in _OF_MOVIES:
        if facts["Type"] == "movie":
            body.setdefault(field, "N/A")
        else:
            body.pop(field, None)
    return body
