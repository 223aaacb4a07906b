"""The table of what was killed, and the survivors as they stand in `survivors.toml`."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.mutations.judged import Judgement, stale, unjudged
from tests.mutations.outcome import Mutant, Verdict

_WIDTH = 34


def table(mutants: Sequence[Mutant]) -> str:
    """Made, killed, timed out, survived …, by module and in all."""
    columns = list(Verdict)
    head = "".join(f"{text:>11}" for text in ["made", *(column.value for column in columns)])
    by_module: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_module.setdefault(mutant.module, []).append(mutant)
    lines = [_line(module, of_it, columns) for module, of_it in by_module.items()]
    return "\n".join([f"{'module':<{_WIDTH}}{head}", *lines, _line("all", mutants, columns)])


def survivors(mutants: Sequence[Mutant], entries: list[Judgement]) -> str:
    """All that survived: the judged with their reason, then the others, as the list would have them."""
    lines = []
    for mutant in mutants:
        if mutant.verdict is Verdict.SURVIVED:
            reasons = [entry.why for entry in entries if entry.covers(mutant)]
            if reasons:
                lines.append(f"{mutant.module} {mutant.function}: {reasons[0]}")
    strangers = unjudged(mutants, entries)
    if strangers:
        lines += [
            "",
            f"{len(strangers)} survivors that are not in survivors.toml:",
            *_entries(strangers),
        ]
    if functions := sorted({f"{m.module} {m.function}" for m in mutants if m.verdict is Verdict.UNREACHED}):
        lines += ["", f"{len(functions)} functions that no test of the group calls:", *functions]
    if gone := stale(mutants, entries):
        lines += ["", "entries of survivors.toml that nothing needs any more:"]
        lines += [f"{entry.module} {entry.function}: {' / '.join(entry.old)}" for entry in gone]
    return "\n".join(lines)


def _line(name: str, mutants: Sequence[Mutant], columns: Sequence[Verdict]) -> str:
    counts = Counter(mutant.verdict for mutant in mutants)
    figures = [len(mutants), *(counts[column] for column in columns)]
    return f"{name:<{_WIDTH}}" + "".join(f"{figure:>11}" for figure in figures)


def _entries(mutants: Iterable[Mutant]) -> list[str]:
    """As they would stand in `survivors.toml`: changes of the same lines together."""
    together: dict[tuple[str, str, tuple[str, ...]], list[tuple[str, ...]]] = {}
    for mutant in mutants:
        changes = together.setdefault((mutant.module, mutant.function, mutant.old), [])
        if mutant.new not in changes:
            changes.append(mutant.new)
    found = []
    for (module, function, old), changes in together.items():
        news = "".join(f"    {_quoted(new)},\n" for new in changes)
        entry = f'[["{module} {function}"]]\nold = {_quoted(old)}\nnew = [\n{news}]\nwhy = ""\n'
        found.append(entry)
    return found


def _quoted(lines: Sequence[str]) -> str:
    quotes = "'" if len(lines) == 1 and "'" not in lines[0] else "'''"
    return quotes + "\n".join(lines) + quotes
