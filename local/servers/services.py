"""How Marquee's own processes are started: their commands and the environment that all of them read."""

import os
import sys
from typing import Final

from local.servers import jaeger, kafka_users
from local.stack import certificates
from local.stack.layout import Shape, Stack, shard_name
from mesh.services import Part, called_by, named

# Three copies, and time enough to find the next leader of a partition: see `kafka_server`. A write's caller
# waits 5 s at the edge.
_CLUSTER: Final = {"MARQUEE_KAFKA_REPLICATION": "3", "MARQUEE_KAFKA_TIMEOUT_S": "4.5"}

# One arena a thread is glibc's default, and most of a small Python process's memory.
_SMALL: Final = {"MALLOC_ARENA_MAX": "2"}


def command(_stack: Stack, _name: str, module: str, role: str) -> list[str]:
    return [sys.executable, "-m", module, role]


def environment(stack: Stack, name: str, service: str) -> dict[str, str]:
    """The contract between a service and where it runs; Kubernetes sets the same."""
    values = {
        **_SMALL,
        "MARQUEE_GRPC_ADDRESS": stack.address(name, "grpc"),
        "MARQUEE_METRICS_ADDRESS": stack.address(name, "metrics"),
        "MARQUEE_LOG_LEVELS_FILE": str(stack.home.log_levels_file),
        **flags(stack),
        "MARQUEE_RANKING_VARIANTS": os.environ.get("MARQUEE_RANKING_VARIANTS", "few-votes=5,many-votes=100"),
        **stores(stack, service),
        **certificate(stack, service),
        **jaeger.senders(stack),
    }
    if "omdb/http" in stack.ports:
        values["MARQUEE_OMDB_URL"] = f"http://{stack.address('omdb', 'http')}/"
        values["OMDB_API_KEY"] = "simulated"
    return values


def flags(stack: Stack) -> dict[str, str]:
    """Where feature flags are; with MARQUEE_UNLEASH_URL, they come from there."""
    return {"MARQUEE_FLAGS_FILE": os.environ.get("MARQUEE_FLAGS_FILE") or str(stack.home.flags_file)}


def controller_command(_stack: Stack, _name: str) -> list[str]:
    return [sys.executable, "-m", "edge.controller"]


def controller_environment(stack: Stack, name: str) -> dict[str, str]:
    """What the edge's controller works on."""
    return {
        **_SMALL,
        "MARQUEE_EDGE_DIR": str(stack.home.envoy),
        "MARQUEE_EDGE_ADMIN": stack.address("envoy", "admin"),
        **flags(stack),
        "MARQUEE_METRICS_ADDRESS": stack.address(name, "metrics"),
        "MARQUEE_LOG_LEVELS_FILE": str(stack.home.log_levels_file),
    }


def certificate(stack: Stack, service: str) -> dict[str, str]:
    """The part of the contract that is the service's identity to the others."""
    files = certificates.of(stack.home, service)
    return {
        "MARQUEE_TLS_CERT": files.certificate,
        "MARQUEE_TLS_KEY": files.key,
        "MARQUEE_TLS_CA": files.authority,
    }


def stores(stack: Stack, service: str) -> dict[str, str]:
    """The part of the contract that does not depend on the process: the stores and the services that it uses.

    Raises:
        KeyError: there is no such service.
    """
    entry = named(service)
    values = {
        "MARQUEE_PAGE_TOKEN_KEY": stack.secrets.get("page_token_key"),
        "MARQUEE_LOG_LEVEL": os.environ.get("MARQUEE_LOG_LEVEL", "info"),
    }
    if Part.PRIMARY in entry.needs:
        values["MARQUEE_PG_PRIMARY"] = stack.dsn(service)
        values["MARQUEE_PG_REPLICAS"] = ",".join(stack.replica_dsns(service))
    if entry.sharded:
        values["MARQUEE_RATING_SHARDS"] = str(stack.shards)
        for number in range(1, stack.shards):
            values[f"MARQUEE_PG_PRIMARY_SHARD{number}"] = stack.dsn(service, shard_name(number))
    if Part.REDIS in entry.needs:
        values["MARQUEE_REDIS_URL"] = stack.redis_url(service)
        values["MARQUEE_REDIS_SENTINELS"] = stack.sentinels
    if Part.KAFKA in entry.needs:
        values |= kafka_users.client(stack, service)
        if stack.shape is Shape.CLUSTER:
            values |= {name: os.environ.get(name, value) for name, value in _CLUSTER.items()}
    for other in called_by(entry):
        if f"{other.name}/grpc" in stack.ports:
            values[other.address_setting] = stack.target(other.name)
    return values


def omdb_command(stack: Stack, name: str) -> list[str]:
    answers = os.environ.get("MARQUEE_OMDB_ANSWERS", "")
    options = ["--answers", answers] if answers else []
    address = stack.address(name, "http")
    return [sys.executable, "-m", "local.omdb_simulator", "--address", address, *options]
