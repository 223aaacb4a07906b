"""`migrate` does alone what processes do when they start, so that a cluster can run it before them."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest

from local.servers.services import stores
from local.stack.layout import Stack
from local.stack.provision import SUPERUSER
from mesh.kafka import KafkaConfig, topic_names
from mesh.services import SERVICES

NAMES = [service.name for service in SERVICES]
ROOT = Path(__file__).parents[3]
# One of each service's own.
TABLES = {"movie_svc": "movies", "rating_svc": "ratings", "ranking_svc": "scores"}
TOPICS = {
    "movie_svc": "marquee.movies.changed.v1",
    "rating_svc": "marquee.ratings.submitted.v1",
    "ranking_svc": "marquee.ratings.changed.dlq.v1",
}


def migrate(service: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", service, "migrate"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("service", NAMES)
async def test_it_makes_the_schema_and_the_topics_and_does_no_harm_again(stack: Stack, service: str) -> None:
    admin = await asyncpg.connect(stack.dsn(SUPERUSER))
    database = f"migrated_{uuid.uuid4().hex[:8]}"
    await admin.execute(f"CREATE DATABASE {database} OWNER {service}")
    dsn = stack.dsn(service, database=database)
    try:
        for _ in range(2):
            done = migrate(service, **{**stores(stack, service), "MARQUEE_PG_PRIMARY": dsn})
            assert done.returncode == 0, done.stderr
            assert "up to date" in done.stdout
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", TABLES[service])
        await connection.close()
        assert TOPICS[service] in await topic_names(KafkaConfig(bootstrap=stack.kafka_bootstrap))
    finally:
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.close()


@pytest.mark.parametrize("service", NAMES)
def test_a_setting_that_is_missing_is_named_in_a_sentence(service: str) -> None:
    done = migrate(service, MARQUEE_PG_PRIMARY="")
    assert done.returncode == 1
    assert done.stderr.startswith("migrate: MARQUEE_")
    assert "Traceback" not in done.stderr
