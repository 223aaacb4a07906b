"""The documentation's site: which pages it has, where their links lead, and what it must not load."""

import re
from pathlib import Path, PurePosixPath

import pytest

from edge import contract
from scripts.site import build, pages, reference

PAGES = pages.of_the_site()


def rewritten(text: str, source: str = "docs/api.md") -> str:
    return pages.rewritten(text, PurePosixPath(source), PAGES, pages.ROOT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[the client](client.md#lists)", "[the client](client.md#lists)"),
        ("[decisions](decisions/README.md)", "[decisions](decisions/index.md)"),
        ("[decisions](decisions/)", "[decisions](decisions/index.md)"),
        ("[client.md](client.md)", "[The client for Python](client.md)"),
        ("[runbooks](../k8s/observability/runbooks/)", "[runbooks](operations/runbooks/index.md)"),
        ("[edge/routes.py](../edge/routes.py)", "`edge/routes.py`"),
        ("[the routes](../edge/routes.py)", "the routes (`edge/routes.py`)"),
        ("[mutmut](https://example.com/mutmut) changes", "mutmut changes"),
        ("[the page](http://127.0.0.1:8080/docs)", "[the page](http://127.0.0.1:8080/docs)"),
        ("```sh\n[as it is](../edge/routes.py)\n```\n", "```sh\n[as it is](../edge/routes.py)\n```\n"),
    ],
)
def test_links_lead_where_the_site_has_what_they_name(text: str, expected: str) -> None:
    assert rewritten(text) == expected


def test_a_link_to_a_file_that_is_not_there_fails() -> None:
    with pytest.raises(pages.BrokenLinkError, match="nothing"):
        rewritten("[x](../edge/nothing.py)")


def test_every_public_call_and_event_is_in_the_reference() -> None:
    made = reference.render(contract.load())
    assert set(made) == {"movies", "ratings", "rankings"}
    for method in contract.public_methods(contract.load()):
        assert f"### {method.name}\n" in made[method.service.split(".")[1]]
    assert "### RatingChanged\n" in made["ratings"]
    assert "Takes 1 to 10." in made["ratings"], "the rules of requests are there"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("page.html", '<script src="https://cdn.example.com/x.js"></script>'),
        ("page.html", '<link href="//fonts.example.com/x.css">'),
        ("page.html", '<a href="https://example.com/">there</a>'),
        ("page.css", "@import 'https://example.com/x.css';"),
        ("page.css", "body { background: url(https://example.com/x.png) }"),
    ],
)
def test_what_comes_from_elsewhere_is_found(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    assert len(list(build.elsewhere(tmp_path))) == 1
    (tmp_path / file).write_text('<a href="api.html">here</a> <a href="http://127.0.0.1:8080/">a mesh</a>')
    assert list(build.elsewhere(tmp_path)) == []


def test_no_line_of_a_diagram_is_cut_by_a_semicolon() -> None:
    texts = [(pages.ROOT / source).read_text() for source in PAGES]
    diagrams = [found for text in texts for found in re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)]
    assert diagrams
    assert [line for each in diagrams for line in each.splitlines() if ";" in line.rstrip(";")] == []
