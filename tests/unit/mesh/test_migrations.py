"""Finding migration files."""

import hashlib
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


def test_a_text_that_was_replaced_is_known_as_the_one_before_until_it_changes_again(tmp_path: Path) -> None:
    path = tmp_path / "0001_a.sql"
    path.write_text("-- long")
    before = find(tmp_path)[0].checksum
    below = hashlib.sha256(b"-- short").hexdigest()
    path.write_text(f"-- marquee: known as {before}, now {below}\n-- short")
    assert find(tmp_path)[0].checksum == before
    path.write_text(f"-- marquee: known as {before}, now {below}\n-- shorter")
    assert find(tmp_path)[0].checksum not in (before, below)


def test_the_ratings_first_schema_is_known_as_it_always_was() -> None:
    first = find(ROOT / "rating_svc" / "migrations")[0]
    assert first.checksum == "e679f15c4955e3375e63b95bf5709a274d4155efc917bf88f6f6037017d0e577"


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
