"""The page about other languages shows the examples that `make test-examples` runs."""

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize(
    "file", ["typescript/buf.gen.yaml", "typescript/src/main.ts", "go/buf.gen.yaml", "go/main.go"]
)
def test_the_page_shows_the_example_as_it_is(file: str) -> None:
    assert (DOCS / "examples" / file).read_text() in (DOCS / "other-languages.md").read_text()
