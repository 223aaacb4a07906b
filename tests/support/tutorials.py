"""Tutorials as programs: the steps of a page, done one after the other in a copy of the checkout.

A step names its file in bold, before the blocks of text that it is about:

- `Create **FILE**:` and one block, the whole file;
- `Append to **FILE**:` and one block;
- `In **FILE**, replace:` and two blocks, with `with:` between them: what stands there once, and what is
  to stand there instead.

Blocks of `sh` are for readers' shells; the tests do what they say in their own way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TUTORIALS: Final = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
_BLOCK: Final = r"```(?!sh$)\w*\n(.*?)^```$\n*"
_STEP_RE: Final = re.compile(
    r"^(?P<action>Create|Append to|In) \*\*(?P<file>[^*]+)\*\*(?:, replace)?:\n+"
    rf"{_BLOCK}(?:with:\n+{_BLOCK})?",
    re.MULTILINE | re.DOTALL,
)
_ANY_BLOCK_RE: Final = re.compile(r"^```(?!sh$)\w+$", re.MULTILINE)
_ANY_STEP_RE: Final = re.compile(r"^(?:Create|Append to|In) \*\*", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """What is done to one file."""

    action: str
    file: str
    texts: tuple[str, ...]


class TutorialError(ValueError):
    """A page can't be followed to the letter."""


def read(name: str) -> list[Step]:
    """The steps of docs/tutorials/NAME.md."""
    return steps((_TUTORIALS / f"{name}.md").read_text())


def steps(page: str) -> list[Step]:
    """The steps of a page, in its order.

    Raises:
        TutorialError: it has a block of text that no step is about, or a step that lacks its blocks.
    """
    found = [
        Step(step["action"], step["file"], tuple(text for text in step.groups()[2:] if text is not None))
        for step in _STEP_RE.finditer(page)
    ]
    for step in found:
        if len(step.texts) != (2 if step.action == "In" else 1):
            raise TutorialError(f"{step.action} {step.file} has {len(step.texts)} blocks")
    if len(_ANY_STEP_RE.findall(page)) != len(found):
        raise TutorialError(f"only {len(found)} steps have their blocks")
    if len(_ANY_BLOCK_RE.findall(page)) != sum(len(step.texts) for step in found):
        raise TutorialError("there is a block of text that no step is about")
    return found


def follow(found: Sequence[Step], folder: Path) -> None:
    """Does steps, one after the other.

    Raises:
        TutorialError: what one is to change is not there, or what it is to create is.
    """
    for step in found:
        _do(step, folder)


def _do(step: Step, folder: Path) -> None:
    path = folder / step.file
    if step.action == "Create":
        if path.exists():
            raise TutorialError(f"{step.file} is there already")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.texts[0])
        return
    if not path.exists():
        raise TutorialError(f"{step.file} is not there")
    text = path.read_text()
    if step.action == "Append to":
        path.write_text(text + step.texts[0])
        return
    old, new = step.texts
    if text.count(old) != 1:
        raise TutorialError(f"{step.file} has {text.count(old)} times, not once: {old}")
    path.write_text(text.replace(old, new))
