"""Kafka's users of a cluster, for a local stack: what Strimzi's operators make of their manifests.

    MARQUEE_KAFKA_MANIFESTS=k8s/components/strimzi marquee up

Then the services show certificates to the brokers and have the rights that users.yaml there gives them,
and no others. What the supervisor asks, and brokers among themselves, go by a listener of their own on the
loopback. Without the variable Kafka speaks plain text and asks for no user.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from local.stack import authority
from local.stack.layout import HOST, Stack, StackError, write_private
from mesh.tls import TlsConfig, host_name

MANIFESTS: Final = "MARQUEE_KAFKA_MANIFESTS"
PORT: Final = "clients"
_BROKER: Final = "kafka"
_TIMEOUT_S: Final = 60.0


def ports() -> list[str]:
    """The port for clients with certificates, where there are users."""
    return [PORT] if _folder() else []


def settings(stack: Stack, name: str) -> dict[str, str]:
    """What a broker's configuration has besides."""
    if not _folder():
        return {}
    address = f"{HOST}:{stack.port(name, PORT)}"
    files = _files(stack, _BROKER)
    return {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Brokers and the supervisor come by the plain listeners, as nobody.
        "super.users": "User:ANONYMOUS",
        "listener.name.clients.ssl.client.auth": "required",
        "listener.name.clients.ssl.keystore.type": "PEM",
        "listener.name.clients.ssl.keystore.location": str(_key_store(stack)),
        "listener.name.clients.ssl.truststore.type": "PEM",
        "listener.name.clients.ssl.truststore.location": files.authority,
        "listeners": f",CLIENTS://{address}",
        "advertised.listeners": f",CLIENTS://{address}",
    }


def prepare(stack: Stack) -> None:
    """Issues the certificates of the brokers and of all users, by an authority of their own."""
    if not _folder():
        return
    for name in (_BROKER, *(user["metadata"]["name"] for user in _objects("KafkaUser"))):
        if not Path(_files(stack, name).certificate).exists():
            authority.issue(_certificates(stack), name)
    files = _files(stack, _BROKER)
    write_private(_key_store(stack), Path(files.key).read_text() + Path(files.certificate).read_text())


def client(stack: Stack, service: str) -> dict[str, str]:
    """The part of a service's environment by which it reaches Kafka as its user."""
    if not _folder():
        return {"MARQUEE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap}
    files = _files(stack, host_name(service))
    return {
        "MARQUEE_KAFKA_BOOTSTRAP": ",".join(stack.address(name, PORT) for name in stack.names("kafka")),
        "MARQUEE_KAFKA_TLS_CERT": files.certificate,
        "MARQUEE_KAFKA_TLS_KEY": files.key,
        "MARQUEE_KAFKA_TLS_CA": files.authority,
    }


async def once_ready(stack: Stack) -> None:
    """Makes the topics and gives the users their rights, as Strimzi's operators do.

    Raises:
        StackError: the brokers refused.
    """
    if not _folder():
        return
    from mesh.kafka import KafkaConfig, ensure_topics

    copies = min(3, len(stack.names("kafka")))
    config = KafkaConfig(bootstrap=stack.kafka_bootstrap, replication=copies)
    await ensure_topics(config, list(_topics(copies)), _TIMEOUT_S)
    await asyncio.to_thread(_give, stack.kafka_bootstrap)


def _give(bootstrap: str) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    made = admin.create_acls(list(bindings()), request_timeout=_TIMEOUT_S)
    for binding, done in made.items():
        try:
            done.result()
        except KafkaException as error:
            raise StackError(f"Kafka refuses {binding}: {error}") from error


def bindings() -> Iterator[Any]:
    """The rights of all users, as the brokers know them."""
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AclBinding,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    kinds = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
    kinds["transactionalId"] = ResourceType.TRANSACTIONAL_ID
    patterns = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
    for user in _objects("KafkaUser"):
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            for operation in acl["operations"]:
                yield AclBinding(
                    kinds[resource["type"]],
                    resource["name"],
                    patterns[resource["patternType"]],
                    f"User:CN={user['metadata']['name']}",
                    acl["host"],
                    AclOperation[_constant(operation)],
                    AclPermissionType.ALLOW,
                )


def _constant(operation: str) -> str:
    """`DescribeConfigs` as the client's library has it: `DESCRIBE_CONFIGS`."""
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in operation).strip("_").upper()


def _topics(copies: int) -> Iterator[Any]:
    from mesh.kafka import Topic

    for each in _objects("KafkaTopic"):
        config = dict(each["spec"]["config"])
        if copies < 3:
            config.pop("min.insync.replicas", None)
        retention = config.pop("retention.ms", None)
        yield Topic(
            each["metadata"]["name"],
            each["spec"]["partitions"],
            retention_s=int(retention) // 1000 if retention else None,
            compacted=config.pop("cleanup.policy") == "compact",
            config=config,
        )


def _objects(kind: str) -> list[dict[str, Any]]:
    import yaml

    folder = _folder()
    assert folder is not None
    found = (each for file in sorted(folder.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text()))
    return [each for each in found if each["kind"] == kind]


def _folder() -> Path | None:
    text = os.environ.get(MANIFESTS, "")
    return Path(text) if text else None


def _certificates(stack: Stack) -> Path:
    return stack.home.certificates / "kafka"


def _files(stack: Stack, name: str) -> TlsConfig:
    return authority.config_of(_certificates(stack), name)


def _key_store(stack: Stack) -> Path:
    return _certificates(stack) / "broker-store.pem"
