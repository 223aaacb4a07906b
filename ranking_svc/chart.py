"""Charts in memory: every order that is listed, kept sorted while movies change.

A server answers all charts and ranks from here, without asking anybody; see
docs/decisions/0031-charts-are-kept-in-memory.md for what that costs and saves.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final

from sortedcontainers import SortedList

from mesh import texts
from ranking_svc.formula import Formula, Key, key, key_behind, movie_of
from ranking_svc.model import Facts, Tally
from ranking_svc.trending import COLD

# How many movies are processed before calls get a turn: some milliseconds' work.
STEP: Final = 2_000


class ChartEntry:
    """A movie as charts show it. Never changed: a change makes a new one.

    `line` and `score` keep the bytes of answers once they have been made.
    """

    __slots__ = ("facts", "line", "movie", "score", "tally")

    def __init__(self, movie: int, tally: Tally | None, facts: Facts | None) -> None:
        self.movie = movie
        self.tally = tally
        self.facts = facts
        self.line: bytes | None = None
        self.score: bytes | None = None

    @property
    def votes(self) -> int:
        """How many votes it has; 0 also while changes that came in the wrong order add up to less."""
        return max(self.tally.votes, 0) if self.tally else 0

    def filters(self) -> Iterator["Filter"]:
        """What it can be found by, one filter each."""
        if self.facts is not None:
            for genre in self.facts.genres:
                yield "genre", texts.folded(genre)
            if self.facts.year is not None:
                yield "decade", self.facts.year // 10 * 10
            yield "type", self.facts.type


Filter = tuple[str, str | int]
Value = Callable[[ChartEntry], float | None]


def _by_weighted(formula: Formula) -> Value:
    def value(entry: ChartEntry) -> float | None:
        tally = entry.tally
        return formula.weighted(tally.total, tally.votes) if tally and tally.votes > 0 else None

    return value


def _by_votes(entry: ChartEntry) -> float | None:
    return entry.votes or None


def _by_box_office(entry: ChartEntry) -> float | None:
    return entry.facts.box_office_usd if entry.facts else None


def _by_heat(window: int) -> Value:
    def value(entry: ChartEntry) -> float | None:
        if not entry.tally or not entry.votes or entry.tally.heat[window] == COLD:
            return None
        return entry.tally.heat[window]

    return value


class Order:
    """The movies that have some value, in the order of `formula.key`."""

    def __init__(self, value: Value) -> None:
        self.value = value
        self._keys: SortedList[Key] = SortedList()

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, entry: ChartEntry) -> Key | None:
        """What an entry is sorted by; None if it does not stand in this order."""
        value = self.value(entry)
        return None if value is None else key(value, entry.votes, entry.movie)

    def replace(self, old: ChartEntry | None, new: ChartEntry) -> None:
        """Takes an entry out and puts its successor in."""
        gone = self.key(old) if old else None
        come = self.key(new)
        if gone == come:
            return
        if gone is not None:
            self._keys.remove(gone)
        if come is not None:
            self._keys.add(come)

    def rank(self, entry: ChartEntry) -> int | None:
        """The place of an entry, from 1; None if it does not stand here."""
        found = self.key(entry)
        return None if found is None else self._keys.bisect_left(found) + 1

    def after(self, cursor: Key | None) -> Iterator[int]:
        """Movies in order, from the first behind `cursor`, or from the first of all.

        The order must not change while they are read.
        """
        return map(movie_of, self._keys.irange(cursor, inclusive=(False, True)))

    def count(self, value: float) -> int:
        """How many movies have `value` or a better one."""
        return int(self._keys.bisect_left(key_behind(value)))

    def first(self, count: int) -> list[int]:
        """The first `count` movies."""
        return [movie_of(key) for key in self._keys.islice(0, count)]

    async def fill(self, entries: Collection[ChartEntry]) -> None:
        """Sorts all entries, giving way to calls between any two steps."""
        runs: list[list[Key]] = []
        for step in steps(entries):
            keys = (self.key(entry) for entry in step)
            runs.append(sorted(found for found in keys if found is not None))
            await asyncio.sleep(0)
        while len(runs) > 1:
            merged = runs.pop(0) + runs.pop(0)
            # Two sorted runs end to end: sort() finds them and only merges.
            merged.sort()
            runs.append(merged)
            await asyncio.sleep(0)
        filled: SortedList[Key] = SortedList()
        for start in range(0, len(runs[0]) if runs else 0, STEP):
            # At once, a million keys would hold calls up.
            filled.update(runs[0][start : start + STEP])
            await asyncio.sleep(0)
        self._keys = filled


def steps(entries: Collection[ChartEntry]) -> Iterator[list[ChartEntry]]:
    """All entries in portions of STEP, as they are now."""
    everything = list(entries)
    for start in range(0, len(everything), STEP):
        yield everything[start : start + STEP]


@dataclass
class Orders:
    """All orders that there are charts of; trending by window, as in `trending.HALF_LIVES_S`."""

    top_rated: Order
    most_voted: Order
    box_office: Order
    trending: tuple[Order, Order, Order]
    variants: dict[str, Order] = field(default_factory=dict)
    """The top-rated chart under the other formulas of an experiment, by variant."""

    def __iter__(self) -> Iterator[Order]:
        return iter(
            (self.top_rated, self.most_voted, self.box_office, *self.trending, *self.variants.values())
        )

    def named(self) -> Iterator[tuple[str, Order]]:
        """Each order with its name, for metrics."""
        names = ("top_rated", "most_voted", "box_office", "trending_day", "trending_week", "trending_month")
        return zip(names, self, strict=False)


@dataclass(frozen=True, slots=True)
class Weighing:
    """One formula and the chart under it. What is kept ready with a movie is of the one without a name."""

    variant: str
    formula: Formula
    order: Order


class Chart:
    """All movies that can be listed, under one formula.

    Attributes:
        version: grows with every change; pages made at another one are out of date.
        votes: all votes together.
    """

    def __init__(self, formula: Formula, variants: Mapping[str, float] | None = None) -> None:
        """Makes an empty chart; `variants` are other m's that it is kept under too, by name."""
        self.formula = formula
        self._prior_votes = dict(variants or {})
        self.version = 0
        self.votes = 0
        self.orders = Orders(
            Order(_by_weighted(formula)),
            Order(_by_votes),
            Order(_by_box_office),
            (Order(_by_heat(0)), Order(_by_heat(1)), Order(_by_heat(2))),
            self._variants(formula),
        )
        self._weighings = self._weigh()
        self._entries: dict[int, ChartEntry] = {}
        self._members: dict[Filter, set[int]] = {}

    def _variants(self, formula: Formula) -> dict[str, Order]:
        return {name: Order(_by_weighted(self._formula(name, formula))) for name in self._prior_votes}

    def _formula(self, variant: str, formula: Formula) -> Formula:
        return replace(formula, prior_votes=self._prior_votes.get(variant, formula.prior_votes))

    def _weigh(self) -> dict[str, Weighing]:
        found = {"": Weighing("", self.formula, self.orders.top_rated)}
        for name, order in self.orders.variants.items():
            found[name] = Weighing(name, self._formula(name, self.formula), order)
        return found

    def weighing(self, variant: str = "") -> Weighing:
        """The formula and the order of a variant; those in force for a name that is none."""
        return self._weighings.get(variant) or self._weighings[""]

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, movie: int) -> ChartEntry | None:
        """A movie; None if it has neither votes nor a place in any chart."""
        return self._entries.get(movie)

    def entries(self, movies: Iterable[int]) -> Iterator[ChartEntry]:
        """Those movies' entries."""
        return (self._entries[movie] for movie in movies)

    def numbers(self) -> list[int]:
        """All movies, in ascending order."""
        return sorted(self._entries)

    def weighted(self, entry: ChartEntry) -> float | None:
        """The weighted score of a movie; None without votes."""
        return self.orders.top_rated.value(entry)

    def members(self, one: Filter) -> Set[int]:
        """The movies that a filter lets through."""
        return self._members.get(one, frozenset())

    def stage_tally(self, tally: Tally) -> None:
        """Adds a movie's aggregate to a chart that is being built; see `finish`."""
        self._store(ChartEntry(tally.movie, tally, None))

    def stage_facts(self, facts: Facts) -> None:
        """Adds a movie's facts to a chart that is being built, after all aggregates."""
        known = self._entries.get(facts.movie)
        self._store(ChartEntry(facts.movie, known.tally if known else None, facts))

    async def finish(self) -> None:
        """Sorts what was staged."""
        for order in self.orders:
            await order.fill(self._entries.values())

    async def reweigh(self, formula: Formula) -> None:
        """Sorts by another formula, and takes it in one step when that is done.

        Nothing may be put meanwhile.
        """
        order = Order(_by_weighted(formula))
        await order.fill(self._entries.values())
        variants = self._variants(formula)
        for each in variants.values():
            await each.fill(self._entries.values())
        # What was serialized holds the old weighted scores.
        for entry in self._entries.values():
            entry.line = entry.score = None
        self.formula, self.orders.top_rated, self.orders.variants = formula, order, variants
        self._weighings = self._weigh()
        self.version += 1

    def put_tally(self, tally: Tally) -> bool:
        """Takes a movie's new aggregate; False if it is no newer than the one known."""
        known = self._entries.get(tally.movie)
        if known and known.tally and not _supersedes(tally, known.tally):
            return False
        self._replace(known, ChartEntry(tally.movie, tally, known.facts if known else None))
        return True

    def put_facts(self, facts: Facts) -> bool:
        """Takes a movie's new facts; False if they are no newer, or of no use to any chart."""
        known = self._entries.get(facts.movie)
        if known and known.facts and not _supersedes(facts, known.facts):
            return False
        if known is None and facts.box_office_usd is None:
            return False
        self._replace(known, ChartEntry(facts.movie, known.tally if known else None, facts))
        return True

    def drop_tally(self, movie: int) -> None:
        """Takes away a movie's aggregate; without it, only a box office keeps it in a chart."""
        facts = self._entries[movie].facts
        self._put_or_drop(
            ChartEntry(movie, None, facts if facts and facts.box_office_usd is not None else None)
        )

    def drop_facts(self, movie: int) -> None:
        """Takes away a movie's facts."""
        self._put_or_drop(ChartEntry(movie, self._entries[movie].tally, None))

    def _put_or_drop(self, entry: ChartEntry) -> None:
        self._replace(self._entries[entry.movie], entry)
        if entry.tally is None and entry.facts is None:
            del self._entries[entry.movie]

    def _replace(self, old: ChartEntry | None, new: ChartEntry) -> None:
        for order in self.orders:
            order.replace(old, new)
        self._store(new)
        self.version += 1

    def _store(self, entry: ChartEntry) -> None:
        known = self._entries.get(entry.movie)
        self.votes += entry.votes - (known.votes if known else 0)
        if known is None or known.facts is not entry.facts:
            for one in known.filters() if known else ():
                self._members[one].discard(entry.movie)
            for one in entry.filters():
                self._members.setdefault(one, set()).add(entry.movie)
        self._entries[entry.movie] = entry


def _supersedes(new: Tally | Facts, known: Tally | Facts) -> bool:
    # A release that knows no versions leaves them as they are; who changes rows by hand leaves both.
    place, known_place = (new.life, new.version, new.changed), (known.life, known.version, known.changed)
    return place >= known_place and new != known
