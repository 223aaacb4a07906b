"""Each service reaches Kafka as a user of its own, whose rights are those that its code needs."""

from pathlib import Path

import pytest

from k8s import kafka_users, manifests
from k8s.manifests import OVERLAYS, Object
from mesh.config import load
from mesh.kafka import KafkaConfig
from mesh.services import SERVICES, Part
from mesh.tls import host_name
from tests.support.overlays import containers, each_overlay, given, program

each_large = pytest.mark.parametrize("overlay", OVERLAYS[1:])


@each_overlay
def test_each_process_that_speaks_with_kafka_shows_its_services_certificate(
    overlay: str, given_secrets: list[Object], tmp_path: Path
) -> None:
    environment = given(overlay, given_secrets)
    for name, pod, container in containers(overlay, "marquee"):
        if container["args"] == ["mesh.provision"] or Part.KAFKA not in program(container)[1].needs:
            continue
        config = load(KafkaConfig, environment.environment(container))
        if overlay == "early":
            assert config.client == {"bootstrap.servers": "kafka:9092"}, name
            continue
        assert config.client["security.protocol"] == "ssl"
        folder = tmp_path / name.replace("/", "-")
        environment.write_files(pod, container, folder)
        for file in ("ssl.certificate.location", "ssl.key.location", "ssl.ca.location"):
            assert (folder / str(config.client[file]).lstrip("/")).is_file(), name
        [volume] = [each for each in pod["volumes"] if each["name"] == "kafka"]
        secrets = [source["secret"]["name"] for source in volume["projected"]["sources"]]
        service = host_name(program(container)[0].name)
        assert secrets == [f"kafka-{service}", "kafka-cluster-ca-cert"], name


@each_large
def test_there_is_a_user_for_each_service_and_one_for_who_scales(overlay: str) -> None:
    objects = manifests.render(overlay)
    users = {each["metadata"]["name"] for each in objects if each["kind"] == "KafkaUser"}
    assert users == {*(host_name(each.name) for each in SERVICES if Part.KAFKA in each.needs), "keda"}
    [kafka] = [each for each in objects if each["kind"] == "Kafka"]
    [listener] = kafka["spec"]["kafka"]["listeners"]
    assert (listener["tls"], listener["authentication"]) == (True, {"type": "tls"})
    assert kafka["spec"]["kafka"]["authorization"] == {"type": "simple"}
    scaled = [
        (each["metadata"]["name"], trigger)
        for each in objects
        if each["kind"] == "ScaledObject"
        for trigger in each["spec"]["triggers"]
        if trigger["type"] == "kafka"
    ]
    assert len(scaled) >= 2
    for name, trigger in scaled:
        assert trigger["metadata"]["tls"] == "enable", name
        assert trigger["authenticationRef"] == {"name": "kafka"}, name


def test_each_topic_has_one_service_that_writes_and_dead_letters_who_sends_them_again() -> None:
    """By the table: a topic that nobody may write into would be of no use."""
    topics = {each["metadata"]["name"] for each in manifests.render("growth") if each["kind"] == "KafkaTopic"}
    writers = {
        topic: {
            user
            for user, acls in kafka_users.rights().items()
            for acl in acls
            if "Write" in acl["operations"]
            and acl["resource"]["type"] == "topic"
            and (
                topic.startswith(acl["resource"]["name"])
                if acl["resource"]["patternType"] == "prefix"
                else topic == acl["resource"]["name"]
            )
        }
        for topic in topics
    }
    assert writers == {
        "marquee.ratings.submitted.v1": {"rating-svc"},
        "marquee.ratings.changed.v1": {"rating-svc"},
        "marquee.ratings.submitted.dlq.v1": {"rating-svc"},
        "marquee.ratings.changed.dlq.v1": {"ranking-svc"},
        "marquee.movies.changed.dlq.v1": {"ranking-svc"},
        "marquee.movies.changed.v1": {"movie-svc", "rating-svc"},
    }
