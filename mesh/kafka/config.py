"""Where Kafka is and how it is used."""

from dataclasses import dataclass

from mesh.config import ConfigError, setting


@dataclass(frozen=True)
class KafkaConfig:
    """Where Kafka is and how it is used."""

    bootstrap: str = setting("MARQUEE_KAFKA_BOOTSTRAP", help="host:port of the brokers, separated by commas")
    replication: int = setting(
        "MARQUEE_KAFKA_REPLICATION", 1, "copies of each topic that is created; 3 in production", low=1, high=5
    )
    max_in_flight: int = setting(
        "MARQUEE_KAFKA_MAX_IN_FLIGHT", 2000, "messages not yet acknowledged, at most", low=1
    )
    timeout_s: float = setting(
        "MARQUEE_KAFKA_TIMEOUT_S",
        3.0,
        "how long a message may take to be acknowledged, in seconds",
        low=0.1,
        high=300,
    )
    linger_ms: float = setting(
        "MARQUEE_KAFKA_LINGER_MS", 2.0, "how long a message waits for others to go with it, in ms", low=0
    )
    gather_ms: float = setting(
        "MARQUEE_KAFKA_GATHER_MS",
        25.0,
        "how long a consumer waits for a batch to grow after its first message, in ms",
        low=0,
        high=1000,
    )
    session_timeout_s: float = setting(
        "MARQUEE_KAFKA_SESSION_TIMEOUT_S",
        10.0,
        "after how long without a heartbeat a consumer's partitions go to others, in seconds",
        low=6,
    )
    tls_certificate: str = setting(
        "MARQUEE_KAFKA_TLS_CERT", "", "the PEM file of the certificate by which brokers know this process"
    )
    tls_key: str = setting("MARQUEE_KAFKA_TLS_KEY", "", "the PEM file of its private key")
    tls_authority: str = setting(
        "MARQUEE_KAFKA_TLS_CA", "", "the PEM file of the authorities that brokers are verified by"
    )

    @property
    def client(self) -> dict[str, str | int]:
        """What every client is told, in librdkafka's own names: where the brokers are, and who it is.

        Certificates are read when a client is made: a new one needs a restart.

        Raises:
            ConfigError: some of the three files are given and others are not.
        """
        base: dict[str, str | int] = {"bootstrap.servers": self.bootstrap}
        given = [self.tls_certificate, self.tls_key, self.tls_authority]
        if not any(given):
            return base
        if not all(given):
            raise ConfigError(
                "MARQUEE_KAFKA_TLS_CERT, MARQUEE_KAFKA_TLS_KEY and MARQUEE_KAFKA_TLS_CA go together: set all "
                "or none"
            )
        return base | {
            "security.protocol": "ssl",
            "ssl.certificate.location": self.tls_certificate,
            "ssl.key.location": self.tls_key,
            "ssl.ca.location": self.tls_authority,
        }
