"""Where Kafka is, and who a client is."""

import pytest

from mesh.config import ConfigError, load
from mesh.kafka import KafkaConfig

FILES = {
    "MARQUEE_KAFKA_TLS_CERT": "/run/kafka/user.crt",
    "MARQUEE_KAFKA_TLS_KEY": "/run/kafka/user.key",
    "MARQUEE_KAFKA_TLS_CA": "/run/kafka/ca.crt",
}
WHERE = {"MARQUEE_KAFKA_BOOTSTRAP": "kafka:9092"}


def test_without_a_certificate_clients_speak_plain_text() -> None:
    assert load(KafkaConfig, WHERE).client == {"bootstrap.servers": "kafka:9092"}


def test_with_a_certificate_they_show_it_and_verify_the_brokers() -> None:
    assert load(KafkaConfig, WHERE | FILES).client == {
        "bootstrap.servers": "kafka:9092",
        "security.protocol": "ssl",
        "ssl.certificate.location": "/run/kafka/user.crt",
        "ssl.key.location": "/run/kafka/user.key",
        "ssl.ca.location": "/run/kafka/ca.crt",
    }


@pytest.mark.parametrize("missing", FILES)
def test_a_part_of_it_is_refused(missing: str) -> None:
    config = load(KafkaConfig, WHERE | {name: file for name, file in FILES.items() if name != missing})
    with pytest.raises(ConfigError, match="MARQUEE_KAFKA_TLS_CA go together"):
        _ = config.client
