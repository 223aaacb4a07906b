"""What the simulator knows, and how OMDb looks it up."""

import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.omdb_simulator import films
from mesh.tables import PassedOver

PAGE: Final = 10  # OMDb's fixed number of search results a page
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Title:
    """One title: its answer as OMDb sends it, and what it is found by."""

    imdb_id: str
    name: str
    year: str
    kind: str
    votes: int
    series: str
    season: str
    episode: str
    body: bytes

    def line(self) -> dict[str, str]:
        """This title as OMDb lists it among search results."""
        poster = str(json.loads(self.body).get("Poster", "N/A"))
        return {
            "Title": self.name,
            "Year": self.year,
            "imdbID": self.imdb_id,
            "Type": self.kind,
            "Poster": poster,
        }


def words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return _WORD.findall("".join(c for c in folded if not unicodedata.combining(c)))


class Catalogue:
    """Titles by id, by exact title, and by the words of their titles."""

    def __init__(self, answers: Iterable[dict[str, object]]) -> None:
        self._by_id: dict[str, Title] = {}
        for body in answers:
            title = _title(body)
            self._by_id[title.imdb_id] = title
        # The best known first: that is the one OMDb answers with.
        self._ranked = sorted(self._by_id.values(), key=lambda t: -t.votes)
        self._by_name: dict[str, list[Title]] = {}
        self._by_word: dict[str, list[Title]] = {}
        for title in self._ranked:
            self._by_name.setdefault(" ".join(words(title.name)), []).append(title)
            for word in set(words(title.name)):
                self._by_word.setdefault(word, []).append(title)

    def __len__(self) -> int:
        return len(self._by_id)

    def by_id(self, imdb_id: str) -> Title | None:
        return self._by_id.get(imdb_id)

    def by_title(self, name: str, year: str, kind: str) -> Title | None:
        """The exact title, else OMDb's near match: any title that holds all the words, then any year."""
        exact = self._by_name.get(" ".join(words(name)), [])
        near = self.search(name, "", kind)
        for candidates in (exact, near):
            for title in candidates:
                if (not year or title.year.startswith(year)) and (not kind or title.kind == kind):
                    return title
        return near[0] if near else None

    def near_match(self, name: str, year: str) -> Title | None:
        """Another title than the one asked for, as OMDb sometimes answers."""
        asked = words(name)
        shared = [t for word in asked for t in self._by_word.get(word, []) if words(t.name) != asked]
        other_year = [t for t in shared if not t.year.startswith(year)] if year else shared
        candidates = other_year or shared or [t for t in self._ranked[:50] if words(t.name) != asked]
        return candidates[0] if candidates else None

    def search(self, query: str, year: str, kind: str) -> list[Title]:
        """Titles that hold every word of the query, the best known first."""
        asked = words(query)
        if not asked:
            return []
        rarest = min((self._by_word.get(word, []) for word in asked), key=len)
        wanted = set(asked)
        return [
            t
            for t in rarest
            if wanted <= set(words(t.name))
            and (not year or t.year.startswith(year))
            and (not kind or t.kind == kind)
        ]

    def episodes(self, series: str, season: str) -> list[Title]:
        found = [t for t in self._ranked if t.series == series and t.season == season]
        return sorted(found, key=lambda t: int(t.episode) if t.episode.isdigit() else 0)


def _title(body: dict[str, object]) -> Title:
    votes = str(body.get("imdbVotes", "0")).replace(",", "")
    return Title(
        imdb_id=str(body["imdbID"]),
        name=str(body["Title"]),
        year=str(body.get("Year", "N/A")),
        kind=str(body.get("Type", "N/A")),
        votes=int(votes) if votes.isdigit() else 0,
        series=str(body.get("seriesID", "")),
        season=str(body.get("Season", "")),
        episode=str(body.get("Episode", "")),
        body=json.dumps(body, ensure_ascii=False).encode(),
    )


def read_answers(path: Path) -> Iterator[dict[str, object]]:
    """OMDb answers, one JSON a line: the answer itself or `{"body": answer}`. Refusals are skipped.

    Lines that can't be read are told and passed over.
    """
    passed = PassedOver(lambda text: print(text, file=sys.stderr))
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                passed.add(path, number, f"it is not JSON: {error}")
                continue
            body = record.get("body", record) if isinstance(record, dict) else None
            if not isinstance(body, dict) or not isinstance(body.get("Title", ""), str):
                passed.add(path, number, "it is no answer of OMDb's")
            elif body.get("Response") == "True" and "imdbID" in body and "Title" in body:
                yield body


def load(path: Path | None) -> Catalogue:
    """The catalogue of recorded answers, or the built-in one."""
    return Catalogue(read_answers(path) if path else films.bodies())
