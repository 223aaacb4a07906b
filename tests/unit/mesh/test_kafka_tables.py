"""The tables that the chassis asks of a service's schema are those that its migrations create."""

from pathlib import Path

import pytest

from mesh.kafka import dead_letters, offsets

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("service", ["rating_svc", "ranking_svc"])
@pytest.mark.parametrize("table", [offsets.TABLE, dead_letters.TABLE], ids=["offsets", "dead letters"])
def test_a_service_that_reads_a_log_has_the_tables_of_the_chassis(service: str, table: str) -> None:
    migrations = [path.read_text() for path in sorted((ROOT / service / "migrations").glob("*.sql"))]
    assert any(table in migration for migration in migrations)
