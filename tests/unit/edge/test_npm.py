"""Node is the machine's if it is new enough; a bundle is made once, and is there whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge import npm


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)


def machine(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch, build: str) -> npm.Node:
    """A machine with such a Node, whose npm runs `build` when it is told to."""
    program(folder, "node", f"print({version!r})")
    program(folder, "npm", f"import sys, pathlib\nif sys.argv[1:] == ['run', 'build']:\n    {build}")
    monkeypatch.setenv("PATH", str(folder))
    return npm.find(folder / "kept")


def test_a_machines_own_node_is_taken_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    other = npm.Node("node", ("npm",))

    def of_wheel(keep: Path) -> npm.Node:
        asked.append(keep)
        return other

    monkeypatch.setattr(npm, "of_wheel", of_wheel)
    found = machine(tmp_path / "bin", "v20.11.1", monkeypatch, "pass")
    assert (found.program, found.npm) == (str(tmp_path / "bin" / "node"), (str(tmp_path / "bin" / "npm"),))
    for version in ("v18.19.0", "nonsense"):
        assert machine(tmp_path / "bin", version, monkeypatch, "pass") is other
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert npm.find(tmp_path) is other
    assert asked == [tmp_path / "bin" / "kept"] * 2 + [tmp_path]


def test_a_bundle_is_made_once_and_put_there_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, target = tmp_path / "page", tmp_path / "lib" / "made"
    (page / "node_modules").mkdir(parents=True)
    (page / "node_modules" / "old").touch()
    (page / "main.js").write_text("1")
    made = "d = pathlib.Path('dist'); d.mkdir(); (d / 'all').write_text(str([*d.parent.iterdir()]))"
    good = machine(tmp_path / "bin", "v22.0.0", monkeypatch, made)
    npm.bundle(page, target, lambda _: good)
    assert "main.js" in (target / "all").read_text()
    assert "node_modules" not in (target / "all").read_text()
    assert os.listdir(target.parent) == ["made"]
    bad = machine(tmp_path / "bin", "v22.0.0", monkeypatch, "pathlib.Path('dist').mkdir(); sys.exit(3)")
    npm.bundle(page, target, lambda _: bad)
    with pytest.raises(subprocess.CalledProcessError):
        npm.bundle(page, tmp_path / "lib" / "other", lambda _: bad)
    assert os.listdir(target.parent) == ["made"]


def test_what_is_fetched_once_is_fetched_again_only_if_it_failed(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    with pytest.raises(KeyError), npm.once(folder):
        raise KeyError
    for expected in (True, False, False):
        with npm.once(folder) as todo:
            assert todo is expected
