"""Builds the documentation as a site: `python -m scripts.site.build [OUT]`, `make docs-site`.

Pages are laid out in a temporary folder: the Markdown of the repository, the reference made from the
contract, and the table of contents. Sphinx makes HTML of them. A link that leads nowhere, a page that is in
no list, and anything that names another host, fails the build.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Final

from edge import npm
from local.stack.layout import cache_folder
from scripts.site import pages, reference

HERE: Final = Path(__file__).resolve().parent
OUT: Final = pages.ROOT / "dist" / "site"
MERMAID: Final = "@mermaid-js/tiny/dist/mermaid.tiny.js"

# What is in the list at the side, and in which order; `*`: all others of that folder.
CONTENTS: Final = {
    "Understand": ("architecture", "invariants", "performance", "capacity", "mutations"),
    "Learn": ("client", "other-languages", "tutorials/add-an-rpc", "tutorials/add-a-service"),
    "Do": ("development", "operations/running", "operations/*", "operations/runbooks/index"),
    "Look up": ("api", "reference/*", "commands", "configuration", "request-rules", "contents"),
    "Why it is so": ("decisions/index",),
}
# Listed by their own index alone: a hundred lines more at the side of each page would be most of it.
LISTED_ELSEWHERE: Final = ("decisions", "operations/runbooks")

_NAMES: Final = {"a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src"}
_ELSEWHERE: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//(?!127\.0\.0\.1|localhost)", re.IGNORECASE)
_STYLED: Final = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//")


def lay_out(work: Path, root: Path = pages.ROOT) -> None:
    """Writes the sources of the site into a folder.

    Raises:
        pages.BrokenLinkError: a page names a file that is not there.
    """
    of_the_site = pages.of_the_site(root)
    reference.write(work / "reference")
    for source, place in of_the_site.items():
        text = pages.rewritten((root / source).read_text(), source, of_the_site, root)
        if str(place.parent) in LISTED_ELSEWHERE and place.name != "index.md":
            text = f"---\norphan: true\n---\n\n{text}"
        if place == PurePosixPath("index.md"):
            text += "".join(_toctree(found, caption) for caption, found in CONTENTS.items())
        (work / place).parent.mkdir(parents=True, exist_ok=True)
        (work / place).write_text(text)
    shutil.copy(HERE / "conf.py", work)
    for folder in ("static", "templates"):
        shutil.copytree(HERE / folder, work / folder)
    shutil.copy(npm.packages(HERE, cache_folder()) / MERMAID, work / "static")


def build(out: Path, work: Path) -> None:
    """Makes the site of what was laid out.

    Raises:
        subprocess.CalledProcessError: something in it is wrong; Sphinx has said what.
    """
    shutil.rmtree(out, ignore_errors=True)
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--nitpicky", "--jobs=auto", "--builder=html"]
    subprocess.run([sys.executable, "-m", "sphinx", *words, work, out], check=True)
    shutil.rmtree(out / ".doctrees", ignore_errors=True)


class _Addresses(HTMLParser):
    """The addresses that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = _NAMES.get(tag)
        self.found += [value for name, value in attrs if name == wanted and value]


def elsewhere(out: Path) -> Iterator[str]:
    """What of a site names another host than the project's own."""
    for file in sorted(out.rglob("*.html")):
        parser = _Addresses()
        parser.feed(file.read_text())
        for address in parser.found:
            if _ELSEWHERE.match(address):
                yield f"{file.relative_to(out)} names {address}"
    for file in sorted(out.rglob("*.css")):
        if _STYLED.search(file.read_text()):
            yield f"{file.relative_to(out)} loads something from elsewhere"


def _toctree(entries: Sequence[str], caption: str = "") -> str:
    titled = [f":caption: {caption}"] if caption else []
    lines = ["", "", "```{toctree}", ":hidden:", ":glob:", ":maxdepth: 1", *titled, "", *entries, "```", ""]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Builds the site; returns the exit code."""
    out = Path(argv[0]) if argv else OUT
    with tempfile.TemporaryDirectory(prefix="marquee-site-") as name:
        try:
            lay_out(Path(name))
            build(out, Path(name))
        except (pages.BrokenLinkError, subprocess.CalledProcessError) as error:
            print(f"docs-site: {error}", file=sys.stderr)
            return 1
    if wrong := list(elsewhere(out)):
        print("docs-site: " + "\n".join(wrong), file=sys.stderr)
        return 1
    count = sum(1 for _ in out.rglob("*.html"))
    print(f"docs-site: {count} pages in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
