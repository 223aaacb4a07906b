"""The variables that are a workload's own: its stores' addresses with its passwords, and whom it calls.

What all have in common is in k8s/base/marquee.env. Passwords are in Secrets and are put into an address by
Kubernetes itself, `$(NAME)`: no Secret needs to know where a store is.
"""

from collections.abc import Iterator
from typing import Final

from mesh import services
from mesh.services import DATABASE, SERVE, Part, Role, Service
from mesh.tls import host_name

GRPC_PORT: Final = 50051
PRIMARY: Final = "postgres-rw:5432"
"""The same in all stages: the Service's name is the one that CloudNativePG chooses."""
POOLER: Final = "postgres-pooler-rw:5432"
READERS: Final = "postgres-pooler-ro:5432"
_REDIS: Final = "redis:6379"


def of_role(service: Service, role: Role) -> Iterator[str]:
    """Entries of `env` for a role's container, as YAML."""
    if Part.PRIMARY in role.needs:
        yield from _postgres(service)
    if Part.REDIS in role.needs:
        yield _secret("REDIS_PASSWORD", host_name(service.name), "redis-password")
        yield _value("MARQUEE_REDIS_URL", f"redis://{service.name}:$(REDIS_PASSWORD)@{_REDIS}/0")
    if Part.OMDB in role.needs:
        yield _secret("OMDB_API_KEY", "omdb", "api-key")
    if role.name == SERVE:
        yield _secret("MARQUEE_PAGE_TOKEN_KEY", "marquee-keys", "page-token-key")
    for other in services.called_by(service):
        yield _value(other.address_setting, f"dns:///{host_name(other.name)}:{GRPC_PORT}")


def of_migration(service: Service) -> Iterator[str]:
    """Entries of `env` for the container that brings schema and topics up to date."""
    if Part.PRIMARY in service.needs:
        yield from _postgres(service)


def dsn(service: Service, address: str) -> str:
    """A connection string of the service's role, with its password's variable in it."""
    return f"postgresql://{service.name}:$(POSTGRES_PASSWORD)@{address}/{DATABASE}"


def _postgres(service: Service) -> Iterator[str]:
    yield _secret("POSTGRES_PASSWORD", host_name(service.name), "postgres-password")
    yield _value("MARQUEE_PG_PRIMARY", dsn(service, PRIMARY))


def _value(name: str, value: str) -> str:
    return f'- {{name: {name}, value: "{value}"}}'


def _secret(name: str, secret: str, key: str) -> str:
    return f"- {{name: {name}, valueFrom: {{secretKeyRef: {{name: {secret}, key: {key}}}}}}}"
