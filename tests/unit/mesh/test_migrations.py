"""Finding migration files."""

from pathlib import Path

import pytest

from mesh.migrations import MigrationError, find
from mesh.services import SERVICES

ROOT = Path(__file__).parents[3]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"-- {name}")
    return folder


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    found = find(write(tmp_path, "0002_more.sql", "0001_first.sql", "notes.txt"))
    assert [(m.version, m.name) for m in found] == [(1, "0001_first.sql"), (2, "0002_more.sql")]


def test_the_checksum_is_the_contents(tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql")
    before = find(tmp_path)[0].checksum
    assert find(tmp_path)[0].checksum == before
    (tmp_path / "0001_a.sql").write_text("-- changed")
    assert find(tmp_path)[0].checksum != before


@pytest.mark.parametrize("name", ["1_short.sql", "0001-dash.sql", "0001_UPPER.sql", "first.sql"])
def test_a_file_that_is_named_wrongly_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MigrationError, match="0001_what_it_does"):
        find(write(tmp_path, name))


@pytest.mark.parametrize(
    "names", [("0002_a.sql",), ("0001_a.sql", "0003_c.sql"), ("0001_a.sql", "0001_b.sql")]
)
def test_gaps_and_doubles_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(MigrationError, match="1, 2, 3"):
        find(write(tmp_path, *names))


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_the_services_own_migrations_can_be_found(service: str) -> None:
    assert find(ROOT / service / "migrations")
