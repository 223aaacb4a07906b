"""The page's bundle: where it can't be made, that is said, and nothing half made lies there."""

import sys
from pathlib import Path

import pytest

from edge import page_build


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bundle would be."""
    folder = tmp_path / "lib" / "page-0"
    monkeypatch.setattr(page_build, "_folder", lambda: folder)
    return folder


@pytest.mark.parametrize("npm", ["false", "no-such-npm-program"])
def test_an_npm_that_can_not_fetch_is_a_sentence(
    made: Path, capsys: pytest.CaptureFixture[str], npm: str
) -> None:
    assert page_build.main(["--npm", npm]) == 1
    assert "the page can't be bundled" in capsys.readouterr().err
    assert page_build.folder() is None
    assert list(made.parent.iterdir()) == []


def test_what_is_there_is_not_made_again(made: Path) -> None:
    made.mkdir(parents=True)
    (made / page_build.MANIFEST).touch()
    assert page_build.main(["--npm", "false"]) == 0


def test_npm_runs_no_scripts_and_takes_what_is_locked(made: Path, tmp_path: Path) -> None:
    """`npm` notes how it was called; without packages, the bundler then fails."""
    noted = tmp_path / "words"
    npm = tmp_path / "npm.py"
    npm.write_text(f"import sys; open({str(noted)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    assert page_build.main(["--npm", f"{sys.executable} {npm}"]) == 1
    install, build = (line.split() for line in noted.read_text().splitlines())
    assert install[0] == "ci"
    assert {"--ignore-scripts", "--omit=dev"} <= set(install)
    assert build == ["run", "build"]


def test_no_registry_is_named_in_the_lock_files() -> None:
    tests = page_build.SOURCES.parents[1] / "tests" / "support" / "page"
    for folder in (page_build.SOURCES, tests):
        lock = (folder / "package-lock.json").read_text()
        assert '"integrity"' in lock
        assert '"resolved"' not in lock
        assert "://" not in "".join(line for line in lock.splitlines() if '"url"' not in line), folder
