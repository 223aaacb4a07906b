"""The docs say what is so: pages made from the code, links, and whatever they name; and in plain words."""

import ast
import functools
import io
import re
import runpy
import shlex
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from local.cli import app
from local.drills.table import DRILLS
from mesh.services import SERVICES

ROOT: Final = Path(__file__).parents[2]
# What is installed, built or made by running lies there too.
_SKIPPED: Final = {"node_modules", "__pycache__", "build", "contract", "gen"}
_SERVICES: Final = tuple(service.name for service in SERVICES)
_CODE: Final = ("mesh", *_SERVICES, "edge", "local", "tests", "scripts", "k8s")
_WRITTEN: Final = {".py", ".md", ".yaml", ".lua", ".c", ".h", ".sh", ".proto"}
# Where a path in `backticks` may begin.
_BASES: Final = ("", "tests")
# What readers whose first language is another stumble over, and what to write instead.
_IDIOMS: Final = {
    r"\banew\b": "again",
    r"\bfor\s+ever\b": "forever",
    r"\bdealt\s+with\b": "processed",
    r"\btaken\s+back\b": "deleted (a rating), rolled back (a release)",
    r"; gives (?!up\b|way\b|back\b)": "returns",
    r"\block\s+up\b": "deadlock",
    r"\ball\s+the\s+same\b": "nevertheless, still",
    r"\bshall\b": "should",
    r"\bborne\b": "accepted",
    r"\bthereby\b": "which",
    r"\bh(?:eld|olds?)(?:\s+\w+){0,2}\s+against\b": "compared with",
    r"\bfor good\b": "forever, permanently",
    r"\btold apart\b": "distinguished",
    r"\bsees? to it\b": "ensures",
    r"\bin so many words\b": "exactly",
    r"\bin vain\b": "without success",
    r"\bput right\b": "repaired",
    r"\bbut for\b": "except",
    r"\bkept back\b": "suppressed, reserved",
    r"\bbrought about\b": "caused",
    r"\bas ever\b": "as always",
    r"\breckon(?:s|ed)?\b": "computed",
    r"\bmust bear\b": "must allow",
    r"\bat hand\b": "there",
    r"\b(?:comes?|came|goes) right\b": "is corrected",
    r"\bhow many it were\b": "how many there were",
    r"\bstands? still since\b": "has had no release since",
    r"\b[Rr]aises [A-Z]\w+(?:Error|Exception|Away|Refused)\b": "a block, `Raises:`",
    r"\(design, rule": "the decision's number",
    r"\b[Tt]he design named\b": "the decision's number",
}
_SOURCE_RE: Final = re.compile(r"(?<![\w./-])[\w.-]+(?:/[\w.-]+)+\.(?:py|c|lua|md|sh|sql|yaml)\b")


def pages() -> list[Path]:
    """All pages in Markdown, without what tools have put there."""
    found = [ROOT / "README.md"]
    for folder in sorted(path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found += [page for page in sorted(folder.rglob("*.md")) if not _SKIPPED & set(page.parts)]
    return found


PAGES: Final = pages()


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The places that a link may lead to, as GitHub names them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> Iterator[str]:
    """Where a page's links lead, but those to other hosts."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def code(page: Path) -> Iterator[str]:
    """What a page says in `backticks` and in blocks of commands, line by line."""
    text = page.read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from re.split(r"\n|; ", block)
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """What is written for people: of Python docstrings and comments, of anything else all; by line."""
    text = path.read_text()
    if not any(re.search(idiom, text) for idiom in _IDIOMS):
        return  # parsing takes its time
    if path.suffix != ".py":
        yield 1, text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def written() -> Iterator[Path]:
    """All files that people read, but migrations: they must stay as they ran."""
    yield from (ROOT / "README.md", ROOT / "Makefile")
    for folder in (*_CODE, "docs", "envoy", "protos"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _WRITTEN and not _SKIPPED & set(path.parts) and path != Path(__file__):
                yield path


@functools.cache
def variables() -> set[str]:
    """The environment variables that code, scripts and make speak of."""
    files = [ROOT / "Makefile"]
    for folder in _CODE:
        files += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in {".py", ".sh", ".env"} and not _SKIPPED & set(path.parts)
        ]
    return set().union(*(re.findall(r"MARQUEE_[A-Z0-9_]+[A-Z0-9]", path.read_text()) for path in files))


def test_the_configuration_page_is_true() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "configuration.py"))
    assert script["PAGE"].read_text() == script["render"](), "run `make docs`"


def test_the_index_of_decisions_is_complete() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "decisions.py"))
    assert script["PAGE"].read_text() == script["render"](), "run `make docs`"


def test_the_tables_of_drills_and_switches_are_true() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "operations.py"))
    text = script["PAGE"].read_text()
    assert script["render"](text) == text, "run `make docs`"
    for drill in DRILLS:
        assert re.search(rf"^\| `{drill.name}` \| \d", text, re.MULTILINE), f"{drill.name} was not measured"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("# 1. A\n\n## Context\n\n## Decision\n\n## Consequences\n", "Status"),
        ("# 1. A\n\n**Status:** perhaps\n\n## Context\n\n## Decision\n\n## Consequences\n", "perhaps"),
        ("# 1. A\n\n**Status:** accepted\n\n## Context\n\n## Decision\n", "Decision"),
        ("# 2. A\n\n**Status:** accepted\n\n## Context\n\n## Decision\n\n## Consequences\n", "number 2"),
    ],
)
def test_a_decision_that_lacks_a_part_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    script: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "decisions.py"))
    page = tmp_path / "0001-a.md"
    page.write_text(text)
    with pytest.raises(script["DecisionError"], match=wrong):
        script["read"](page)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{named(page)} links to {target}"
        assert not anchor or anchor in anchors(found), f"{named(page)} links to {target}"


def test_every_page_is_linked_from_another() -> None:
    leads = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page)}
    for page in PAGES[1:]:
        found = page in leads or (page.name == "README.md" and page.parent in leads)
        assert found, f"nothing leads to {named(page)}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for span in code(page):
        for path in _SOURCE_RE.findall(span) if not span.startswith(("http", "curl")) else ():
            bases = [ROOT / base for base in _BASES] + [page.parent]
            assert any((base / path).exists() for base in bases), f"{named(page)} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_that_is_run_exists(page: Path) -> None:
    for span in code(page):
        for module in re.findall(r"python -m ([\w.]+)", span):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), (
                f"{named(page)} runs {module}"
            )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in code(page):
        if span.startswith("make "):
            words = [word for word in shlex.split(span, comments=True)[1:] if "=" not in word]
            assert set(words) <= targets, f"{named(page)} says {span}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_named_exists(page: Path) -> None:
    for span in code(page):
        for call in re.findall(r"(?:^|/|\()marquee ([a-z][^;)#|]*)", span):
            command: Any = get_command(app)
            for word in call.split():
                if word.startswith("-"):
                    options = {option for parameter in command.params for option in parameter.opts}
                    assert word.partition("=")[0] in options, f"{named(page)} says marquee {call}"
                elif hasattr(command, "commands"):
                    assert word in command.commands, f"{named(page)} says marquee {call}"
                    command = command.commands[word]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_variable_that_is_named_is_read_somewhere(page: Path) -> None:
    unknown = set(re.findall(r"MARQUEE_[A-Z0-9_]+[A-Z0-9]", page.read_text())) - variables()
    assert not unknown, f"{named(page)} names {unknown}"


def test_words_are_plain() -> None:
    found = [
        f"{named(path)}:{line + text[: match.start()].count(chr(10))}: {match[0]!r}: write {instead}"
        for path in written()
        for line, text in prose(path)
        for idiom, instead in _IDIOMS.items()
        for match in re.finditer(idiom, text)
    ]
    assert not found, "\n".join(found)


def test_every_decision_that_is_named_exists() -> None:
    numbers = {int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    for path in written():
        text = path.read_text()
        for number in re.findall(r"decisions?[ /]\[?(\d{1,4})\b", text):
            assert int(number) in numbers, f"{named(path)} names decision {number}"
