"""Survivors that somebody looked at and let live: `survivors.toml`, each with the reason in a sentence."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutations.outcome import Mutant, Verdict

_FILE: Final = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True)
class Judgement:
    """One entry: a survivor, or all of a function where `news` is empty."""

    module: str
    function: str
    old: tuple[str, ...]
    news: tuple[tuple[str, ...], ...]
    """What they became: one entry may stand for several changes of the same lines."""
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether it speaks of this mutant."""
        if (self.module, self.function) != (mutant.module, mutant.function):
            return False
        return not self.news or (self.old == mutant.old and mutant.new in self.news)


def judgements() -> list[Judgement]:
    """All entries; one without a reason is an error."""
    found = []
    for function, entries in tomllib.loads(_FILE.read_text()).items():
        module, _, name = function.partition(" ")
        for entry in entries:
            if not entry["why"].strip():
                raise SystemExit(f"{_FILE.name}: an entry of {function} says no reason")
            found.append(
                Judgement(
                    module,
                    name,
                    _lines(entry.get("old", "")),
                    tuple(_lines(new) for new in entry.get("new", [])),
                    entry["why"],
                )
            )
    return found


def unjudged(mutants: Iterable[Mutant], entries: list[Judgement]) -> list[Mutant]:
    """Survivors that no entry covers."""
    survivors = [mutant for mutant in mutants if mutant.verdict is Verdict.SURVIVED]
    return [mutant for mutant in survivors if not any(entry.covers(mutant) for entry in entries)]


def stale(mutants: Iterable[Mutant], entries: list[Judgement]) -> list[Judgement]:
    """Entries of modules that were run which cover no survivor any more: to be removed from the list."""
    tried = list(mutants)
    modules = {mutant.module for mutant in tried}
    survivors = [mutant for mutant in tried if mutant.verdict is not Verdict.KILLED]
    return [
        entry
        for entry in entries
        if entry.module in modules and not any(entry.covers(mutant) for mutant in survivors)
    ]


def _lines(value: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in value.splitlines() if line.strip())
