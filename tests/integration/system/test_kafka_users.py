"""Kafka with the users of a cluster: each service can do its work with its own rights, and nobody else can.

The rights are those of k8s/components/strimzi/users.yaml, given to a real broker with KRaft's own
authorizer; the services are started as they always are, with certificates.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from edge import tokens
from local.servers import kafka_users, services
from local.stack import authority
from local.stack.layout import Home, Stack
from mesh.config import load
from mesh.kafka import KafkaConfig
from movie_svc.storing.changes import CHANGED as MOVIES_CHANGED
from rating_svc import topics
from tests.support import stacks
from tests.support.waiting import eventually

MANIFESTS = Path(__file__).resolve().parents[3] / "k8s" / "components" / "strimzi"
MOVIE = "tt0111161"
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = Home(Path(tmp_path_factory.mktemp("secured")))
    with pytest.MonkeyPatch.context() as patch:
        # For this process too: it asks where a service's certificate is.
        patch.setenv(kafka_users.MANIFESTS, str(MANIFESTS))
        with stacks.running(home, []) as stack:
            yield stack


def config(stack: Stack, service: str) -> KafkaConfig:
    """How a service of the stack reaches Kafka."""
    return load(KafkaConfig, services.stores(stack, service))


async def test_a_rating_goes_all_its_way_by_services_that_have_their_own_rights_alone(secured: Stack) -> None:
    async with httpx.AsyncClient(base_url=secured.edge_url, timeout=20) as http:
        headers = {"authorization": f"Bearer {tokens.issue(secured.home.tokens, 'someone')}"}
        rated = await http.put(f"/v1/users/me/ratings/{MOVIE}", json={"score": 9}, headers=headers)
        assert rated.status_code == 200, rated.text

        async def counted() -> bool:
            """Front, worker, relay and consumer have each done their part."""
            score = await http.get(f"/v1/movies/{MOVIE}/score")
            return score.status_code == 200 and int(score.json()["votes"]) == 1

        async def named() -> bool:
            """ranking_svc has heard from movie_svc which movie that is."""
            chart = await http.get("/v1/charts/top-rated?genre=Drama")
            return MOVIE in chart.text

        await eventually(counted, 60)
        await eventually(named, 60)


@pytest.mark.parametrize(
    "words",
    [
        ["migrate"],
        ["dlq", "--of", "submissions", "list"],
        ["dlq", "--of", "changes", "list"],
        ["dlq", "--of", "facts", "list"],
        ["grow", "14"],
    ],
    ids=" ".join,
)
def test_operators_commands_work_with_the_rights_of_their_service(secured: Stack, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rating_svc", *words],
        env={**os.environ, **services.stores(secured, "rating_svc")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_broker_knows_the_rights_of_the_manifests_and_no_others(secured: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": secured.kafka_bootstrap})
    every = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found = admin.describe_acls(every, request_timeout=20).result()
    assert set(found) == set(kafka_users.bindings())
    assert len(found) > 20


@pytest.mark.parametrize(
    ("service", "topic"),
    [
        ("movie_svc", topics.SUBMITTED),
        ("movie_svc", topics.CHANGED),
        ("ranking_svc", topics.CHANGED),
        ("ranking_svc", topics.SUBMITTED),
        ("ranking_svc", MOVIES_CHANGED.name),
    ],
)
def test_a_service_cant_write_into_a_topic_that_it_only_reads_or_has_nothing_to_do_with(
    secured: Stack, service: str, topic: str
) -> None:
    assert write(config(secured, service).client, topic) in DENIED


@pytest.mark.parametrize("topic", [topics.SUBMITTED, topics.DEAD_LETTERS])
def test_a_service_cant_read_what_is_not_for_it(secured: Stack, topic: str) -> None:
    assert read(config(secured, "movie_svc").client, topic, "movie_svc.somehow") in DENIED


def test_a_service_cant_join_the_readers_of_another(secured: Stack) -> None:
    """It would take partitions away from them."""
    code = read(config(secured, "ranking_svc").client, topics.CHANGED, "rating_svc.worker.1")
    assert code == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_somebody_with_a_certificate_and_no_rights_sees_no_topic(secured: Stack) -> None:
    folder = secured.home.certificates / "kafka"
    files = authority.issue(folder, "somebody")
    known = config(secured, "movie_svc")
    client = {
        **known.client,
        "ssl.certificate.location": files.certificate,
        "ssl.key.location": files.key,
    }
    assert AdminClient(client).list_topics(timeout=20).topics == {}
    assert write(client, topics.SUBMITTED) in DENIED


def test_nobody_comes_in_without_a_certificate_of_the_brokers_authority(
    secured: Stack, tmp_path: Path
) -> None:
    known = config(secured, "movie_svc").client
    stranger = authority.issue(tmp_path, "movie-svc")
    plain = {"bootstrap.servers": known["bootstrap.servers"]}
    named = {
        **plain,
        "security.protocol": "ssl",
        "ssl.ca.location": known["ssl.ca.location"],
    }
    forged = {
        **named,
        "ssl.certificate.location": stranger.certificate,
        "ssl.key.location": stranger.key,
    }
    for client in (plain, named, forged):
        with pytest.raises(KafkaException):
            AdminClient({**client, "log_level": 0}).list_topics(timeout=5)


def write(client: Mapping[str, object], topic: str) -> int | None:
    """Sends one message; returns the code of the error, None if it was taken."""
    seen: list[KafkaError | None] = []
    producer = Producer({**client, "message.timeout.ms": 20_000, "log_level": 0})
    producer.produce(topic, b"from nobody", partition=0, on_delivery=lambda error, _: seen.append(error))
    producer.flush(30)
    [error] = seen
    return error.code() if error else None


def read(client: Mapping[str, object], topic: str, group: str) -> int | None:
    """Reads a topic as one of a group; returns the code of the first error, None without one."""
    settings = {"group.id": group, "auto.offset.reset": "earliest", "log_level": 0}
    consumer = Consumer({**client, **settings, "enable.auto.commit": False})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(30)
        assert message is not None, "neither a message nor an error came"
        error = message.error()
        return error.code() if error else None
    except KafkaException as refused:
        return int(refused.args[0].code())
    finally:
        consumer.close()
