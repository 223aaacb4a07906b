"""Whose cluster `make k8s` uses: nobody's without a yes, and the one that it chose until it is removed."""

import io
from pathlib import Path

import pytest

from k8s import place
from k8s.place import GivenCluster


class Own:
    """Stands for a cluster of this machine's own, which would build Kubernetes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "OwnCluster", Own)
    monkeypatch.delenv(place.CHOSEN, raising=False)


def set_to(monkeypatch: pytest.MonkeyPatch, context: str, answer: str | None) -> None:
    """A machine whose kubectl has a context, and a person who answers; None: nobody is there."""
    monkeypatch.setattr(place, "_current_context", lambda: context)
    terminal = io.StringIO(answer or "")
    monkeypatch.setattr(terminal, "isatty", lambda: answer is not None)
    monkeypatch.setattr("sys.stdin", terminal)


@pytest.mark.parametrize(
    ("context", "answer", "own"),
    [
        ("", None, True),
        ("prod", None, True),
        ("prod", "\n", True),
        ("prod", "n\n", True),
        ("prod", "y\n", False),
    ],
)
def test_a_given_cluster_is_used_after_a_yes_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, context: str, answer: str | None, own: bool
) -> None:
    set_to(monkeypatch, context, answer)
    assert isinstance(place.choose(tmp_path), Own if own else GivenCluster)


def test_the_variable_answers_beforehand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_to(monkeypatch, "prod", None)
    monkeypatch.setenv(place.CHOSEN, "kind-mine")
    chosen = place.choose(tmp_path)
    assert isinstance(chosen, GivenCluster)
    assert "kind-mine" in chosen.kubectl


def test_what_is_removed_is_what_was_made_whatever_kubectl_says_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert place.chosen(tmp_path) is None
    set_to(monkeypatch, "mine", "y\n")
    place.choose(tmp_path)
    set_to(monkeypatch, "prod", None)
    made = place.chosen(tmp_path)
    assert isinstance(made, GivenCluster)
    assert "mine" in made.kubectl
    place.forget(tmp_path)
    assert place.chosen(tmp_path) is None
