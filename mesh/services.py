"""The services of the mesh: the one table that says which there are, what each needs, and who may call whom.

From it come, or by it are checked:

- the processes of a local stack, with what they wait for (`local.supervision`);
- PostgreSQL's roles and schemas, Redis' users, certificates, environments (`local.stack`, `local.servers`);
- who is let in by a service (`mesh.server`);
- Envoy's clusters, and what `envoy/routes.yaml` must speak of (`edge.routes`);
- the workloads and network policies of Kubernetes (`k8s.workloads`);
- the headings of docs/configuration.md (`scripts/configuration.py`).

A service is a package of the same name beside this one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """What a process may stand on."""

    PRIMARY = "primary"
    """PostgreSQL, to write."""
    REPLICA = "replica"
    """PostgreSQL, to read from what may be a moment behind."""
    REDIS = "redis"
    KAFKA = "kafka"
    OMDB = "omdb"


@dataclass(frozen=True)
class Role:
    """One kind of process of a service: `python -m SERVICE ROLE`."""

    name: str
    purpose: str
    """What it does, as a sentence."""
    needs: tuple[Part, ...]
    cpu_millis: int = 50
    """CPU time that an instance is sure of, in thousandths of a core."""
    memory_mib: int = 128
    """Memory that an instance is sure of, in MiB."""
    memory_limit_mib: int = 256
    """Memory that an instance never exceeds, in MiB."""
    takes_turns: bool = False
    """Whether one instance works at a time while others stand by."""


SERVE: Final = "serve"
DATABASE: Final = "marquee"
"""The database in PostgreSQL that holds the services' schemas."""


@dataclass(frozen=True)
class Service:
    """A service, and all its processes."""

    name: str
    """Of its package, its PostgreSQL role and schema, its Redis user, its certificate and Envoy's cluster."""
    contract: str
    """The proto package whose gRPC services it answers, such as `marquee.movies.v1`."""
    roles: tuple[Role, ...]
    sharded: bool = False
    """Whether its rows may be spread over several databases, each a complete one (`rating_svc.shards`)."""
    public: bool = True
    """Whether clients may call it through the edge: `envoy/routes.yaml` says then which RPCs, and how."""
    calls: tuple[str, ...] = ()
    """Full names of the gRPC services of others that it calls."""

    @property
    def key_prefix(self) -> str:
        """What its Redis keys and channels begin with: `movie:`."""
        return self.name.removesuffix("_svc") + ":"

    @property
    def needs(self) -> frozenset[Part]:
        """What any of its processes stands on."""
        return frozenset(part for role in self.roles for part in role.needs)

    @property
    def address_setting(self) -> str:
        """The variable that tells its callers where it is: `MARQUEE_MOVIE_SVC`."""
        return f"MARQUEE_{self.name.upper()}"

    def process(self, role: Role) -> str:
        """The name of a role's process: `rating_svc` is the server, `rating_svc-worker` another."""
        return self.name if role.name == SERVE else f"{self.name}-{role.name}"


SERVICES: Final = (
    Service(
        "movie_svc",
        contract="marquee.movies.v1",
        roles=(
            Role(
                SERVE,
                "Answers movies, searches and lists.",
                needs=(Part.PRIMARY, Part.REPLICA, Part.REDIS, Part.KAFKA, Part.OMDB),
                cpu_millis=100,
                memory_mib=192,
                memory_limit_mib=384,
            ),
        ),
    ),
    Service(
        "rating_svc",
        contract="marquee.ratings.v1",
        sharded=True,
        calls=("marquee.movies.v1.MovieService",),
        roles=(
            Role(
                SERVE,
                "Takes ratings and shows users their own.",
                needs=(Part.PRIMARY, Part.REPLICA, Part.REDIS, Part.KAFKA),
                cpu_millis=100,
            ),
            Role(
                "worker",
                "Brings the log of submissions into PostgreSQL. More instances than partitions are idle.",
                needs=(Part.PRIMARY, Part.REDIS, Part.KAFKA),
                cpu_millis=100,
            ),
            Role(
                "relay",
                "Hands changes on. One at a time has its turn; a second one stands by.",
                needs=(Part.PRIMARY, Part.KAFKA),
                cpu_millis=25,
                memory_mib=96,
                memory_limit_mib=192,
                takes_turns=True,
            ),
        ),
    ),
    Service(
        "ranking_svc",
        contract="marquee.rankings.v1",
        calls=("marquee.movies.v1.MovieService", "marquee.ratings.v1.RatingTotalsService"),
        roles=(
            Role(
                SERVE,
                "Answers scores and charts from memory.",
                needs=(Part.PRIMARY, Part.REPLICA, Part.REDIS, Part.KAFKA),
                cpu_millis=100,
                memory_mib=192,
                memory_limit_mib=512,
            ),
            Role(
                "consumer",
                "Counts changes of ratings.",
                needs=(Part.PRIMARY, Part.REDIS, Part.KAFKA),
                cpu_millis=100,
            ),
        ),
    ),
)

PUBLIC: Final = tuple(service for service in SERVICES if service.public)


def named(name: str) -> Service:
    """The service of that name.

    Raises:
        KeyError: there is none.
    """
    for service in SERVICES:
        if service.name == name:
            return service
    raise KeyError(f"there is no service {name!r}: there are {', '.join(each.name for each in SERVICES)}")


def owner(grpc_service: str) -> Service:
    """Who answers a gRPC service, such as `marquee.movies.v1.MovieService`.

    Raises:
        KeyError: nobody in the table does.
    """
    package = grpc_service.rpartition(".")[0]
    for service in SERVICES:
        if service.contract == package:
            return service
    raise KeyError(f"no service in mesh/services.py answers {grpc_service}")


def callers(grpc_service: str) -> frozenset[str]:
    """The services that call a gRPC service."""
    return frozenset(service.name for service in SERVICES if grpc_service in service.calls)


def called_by(service: Service) -> list[Service]:
    """The services that a service calls, each once."""
    return list(dict.fromkeys(owner(grpc_service) for grpc_service in service.calls))
