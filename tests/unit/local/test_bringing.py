"""What two processes want at the same time is downloaded once."""

import threading
from pathlib import Path

import pytest

from local.servers import bringing


def test_who_comes_second_waits_until_the_first_has_brought_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_CACHE", str(tmp_path / "cache"))
    done: list[str] = []
    second_began = threading.Event()

    def second() -> None:
        second_began.set()
        with bringing.alone("program"):
            done.append("second")

    thread = threading.Thread(target=second)
    with bringing.alone("program"):
        thread.start()
        assert second_began.wait(60)
        thread.join(0.2)
        done.append("first")
        with bringing.alone("another"):
            done.append("another")
    thread.join(60)
    assert done == ["first", "another", "second"]
