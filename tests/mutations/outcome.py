"""What became of each mutant, under names that stay: the function and the lines that differ."""

import contextlib
import difflib
import io
import json
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from mutmut.mutation.data import MutantLineSpans
from mutmut.mutation.trampoline_templates import CLASS_NAME_SEPARATOR
from mutmut.stats import status_by_exit_code

from tests.mutations.plan import Group
from tests.mutations.workspace import Workspace

_STATEMENTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "LOCK", "SET ", "ALTER")


class Verdict(Enum):
    """What the tests said to a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    WORDING = "only words"
    """It survived, and changes nothing but a sentence that people read."""
    UNREACHED = "not called"
    """No test of the group calls the function."""
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Mutant:
    """One change to one function."""

    module: str
    """The file, below the root of the repository."""
    function: str
    """`function` or `Class.method`."""
    old: tuple[str, ...]
    """The lines that it replaces, without indentation; none if it only adds."""
    new: tuple[str, ...]
    verdict: Verdict


def outcomes(group: Group) -> Iterator[Mutant]:
    """All mutants of a group's last run."""
    workspace = Workspace(group)
    for module in group.modules:
        meta = workspace.mutants / f"{module}.meta"
        if not meta.exists():
            continue  # nothing in it can be changed
        verdicts: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        with contextlib.chdir(workspace.path):
            spans = MutantLineSpans.load(module)
            assert spans is not None
            for name, code in verdicts.items():
                yield _mutant(spans, Path(module), name, code)


def _mutant(spans: MutantLineSpans, module: Path, name: str, code: int | None) -> Mutant:
    place = name.rpartition(".")[2]
    mangled = place.rpartition("__mutmut_")[0]
    function = _function(mangled)
    # Each copy of the function has a name of its own, which is no difference.
    copies = f"{mangled}__mutmut_orig", place
    texts = zip(copies, spans.read_function_sources(copies), strict=True)
    own = function.rpartition(".")[2]
    old, new = _difference(*(text.replace(copy, own).splitlines() for copy, text in texts))
    verdict = _verdict(code)
    if verdict is Verdict.SURVIVED and _wording(old, new):
        verdict = Verdict.WORDING
    return Mutant(str(module), function, old, new, verdict)


def _function(mangled: str) -> str:
    if mangled.startswith(f"x{CLASS_NAME_SEPARATOR}"):
        return ".".join(mangled.split(CLASS_NAME_SEPARATOR)[1:])
    return mangled.removeprefix("x_")


def _verdict(code: int | None) -> Verdict:
    return {
        "killed": Verdict.KILLED,
        "survived": Verdict.SURVIVED,
        "no tests": Verdict.UNREACHED,
        "timeout": Verdict.TIMED_OUT,
        # A process that died of the change would have told its user.
        "segfault": Verdict.KILLED,
    }.get(status_by_exit_code[code], Verdict.UNDECIDED)


def _difference(before: list[str], after: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    old = tuple(line[2:].strip() for line in lines if line[0] == "-")
    return old, tuple(line[2:].strip() for line in lines if line[0] == "+")


def _wording(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Whether one string differs and nothing else, and that is a sentence: a space, and no SQL."""
    before, after = _tokens(old), _tokens(new)
    differing = [(one, other) for one, other in zip(before, after, strict=False) if one != other]
    if len(before) != len(after) or len(differing) != 1:
        return False
    text = differing[0][0].strip("\"'")
    return differing[0][0][-1] in "\"'" and " " in text and not text.startswith(_STATEMENTS)


def _tokens(lines: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(tokenize.TokenError):  # a piece of a statement
        found.extend(
            token.string for token in tokenize.generate_tokens(io.StringIO(" ".join(lines)).readline)
        )
    return found
