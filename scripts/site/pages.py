"""Which files are pages of the site, and where their links lead there."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

Pages = Mapping[PurePosixPath, PurePosixPath]
"""Each page's path in the repository, and that in the site."""

_FENCE: Final = re.compile(r"^ {0,3}(```+|~~~+)")
_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_ELSEWHERE: Final = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_OWN: Final = re.compile(r"^https?://(127\.0\.0\.1|localhost)(:|/|$)")


class BrokenLinkError(ValueError):
    """A page names a file that is not there."""


def of_the_site(root: Path = ROOT) -> Pages:
    """All pages."""
    found: dict[PurePosixPath, PurePosixPath] = {PurePosixPath("README.md"): PurePosixPath("index.md")}
    folders = {"docs": "", "k8s/observability/runbooks": "operations/runbooks"}
    for folder, place in folders.items():
        for file in sorted((root / folder).rglob("*.md")):
            inside = PurePosixPath(place, file.relative_to(root / folder).as_posix())
            name = "contents.md" if inside == PurePosixPath("README.md") else inside.name
            named = inside.with_name("index.md" if name == "README.md" else name)
            found[PurePosixPath(file.relative_to(root).as_posix())] = named
    return found


def rewritten(text: str, source: PurePosixPath, pages: Pages, root: Path) -> str:
    """A page's text with links as the site has them.

    A link to a page leads to it. One to another file of the repository becomes its path, and one to another
    host its words: the site sends nobody elsewhere.

    Raises:
        BrokenLinkError: a link leads to no file.
    """
    return "".join(_linked(line, source, pages, root) if prose else line for line, prose in _lines(text))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is prose: no part of a block of code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            yield line, False
        elif fence:
            if mark and line.strip().startswith(fence):
                fence = ""
            yield line, False
        else:
            yield line, True


def _linked(line: str, source: PurePosixPath, pages: Pages, root: Path) -> str:
    def replaced(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if target.startswith("#") or _OWN.match(target):
            return found[0]
        if _ELSEWHERE.match(target):
            return words
        path, mark, anchor = target.partition("#")
        file = PurePosixPath(os.path.normpath(source.parent / path))
        file = file / "README.md" if file / "README.md" in pages else file
        if (page := pages.get(file)) is not None:
            words = _title(root / file) if words.endswith(".md") else words
            return f"[{words}]({os.path.relpath(page, pages[source].parent)}{mark}{anchor})"
        if not (root / file).exists():
            raise BrokenLinkError(f"{source}: {target} is not there")
        plain = words.strip("`")
        return f"`{file}`" if str(file).endswith(plain.rstrip("/")) else f"{words} (`{file}`)"

    return _LINK.sub(replaced, line)


def _title(page: Path) -> str:
    """What a page's first heading says."""
    return next(line[2:].strip() for line in page.read_text().splitlines() if line.startswith("# "))
