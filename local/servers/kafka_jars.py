"""Apache Kafka from Maven coordinates: `kafka.lock` names every jar with its SHA-256.

`python -m local.servers.kafka_jars` fetches them; with `--lock` it resolves the
coordinates again and rewrites the lock.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local.stack.layout import StackError, cache_folder

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOCK: Final = Path(__file__).with_name("kafka.lock")
KAFKA_VERSION: Final = "4.4.0"

# kafka-clients stands here by itself: else log4j's parent POM, which manages
# Kafka's version for log4j's own appender, would drag in an older one.
_COORDINATES: Final = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3",
)
_SYSTEM_TRUST: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_SCOPES: Final = ("compile", "runtime")
_DOWNLOADS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    coordinate: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is kept, whether it is there or not."""
        group, artifact, version = self.coordinate.split(":")
        return _repository() / group.replace(".", "/") / artifact / version / f"{artifact}-{version}.jar"


def class_path(lock: Path = LOCK) -> str:
    """The Java class path of the locked jars.

    Raises:
        StackError: a jar is not there.
    """
    jars = read_lock(lock)
    missing = [jar.coordinate for jar in jars if not jar.path.exists()]
    if missing:
        raise StackError(
            f"{len(missing)} of the jars in {lock.name} are not there yet, such as {missing[0]}: "
            "run `make install`"
        )
    return ":".join(str(jar.path) for jar in jars)


def fetch(lock: Path = LOCK) -> int:
    """Downloads the jars that are missing; returns how many those were.

    Raises:
        StackError: one can't be had, or is not the one that was locked.
    """
    missing = [jar for jar in read_lock(lock) if not jar.path.exists()]
    if not missing:
        return 0
    context = _context()
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as threads:
        list(threads.map(lambda jar: _fetch(context, jar, lock), missing))
    return len(missing)


def read_lock(lock: Path = LOCK) -> list[Jar]:
    lines = (line.split() for line in lock.read_text().splitlines() if not line.startswith("#"))
    return [Jar(coordinate, sha256) for coordinate, sha256 in lines]


def write_lock(lock: Path = LOCK, wanted: Sequence[str] = _COORDINATES) -> None:
    """Resolves the coordinates and writes what they need into the lock."""
    context = _context()
    named, others = context.resolver.resolve([_dependency(context, text) for text in wanted])
    artifacts = [d.artifact for d in named] + [d.artifact for d in others if d.scope in _SCOPES]
    lines = []
    for artifact in artifacts:
        content = artifact.resolve().read_bytes()
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.append(f"{coordinate} {hashlib.sha256(content).hexdigest()}\n")
    head = "# Made by `make lock`: coordinate, SHA-256 of the jar.\n"
    lock.write_text(head + "".join(sorted(set(lines))))


def _fetch(context: "MavenContext", jar: Jar, lock: Path) -> None:
    try:
        path: Path = _dependency(context, jar.coordinate).artifact.resolve()
    except Exception as error:  # whatever the HTTP client or the resolver raises
        raise StackError(
            f"{jar.coordinate} can't be downloaded from Maven Central: {error}; "
            "see to the network and try again"
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
        path.unlink()
        raise StackError(
            f"{jar.coordinate} as downloaded is not the one in {lock.name}, and was thrown away: "
            "run `make install` again"
        )


def _context() -> "MavenContext":
    from jgo.maven import MavenContext

    # Whom this machine trusts, not only whom the Python package certifi does: there may be a proxy between.
    if _SYSTEM_TRUST.exists():
        os.environ.setdefault("REQUESTS_CA_BUNDLE", str(_SYSTEM_TRUST))

    return MavenContext(repo_cache=_repository(), timeout=60)


def _dependency(context: "MavenContext", coordinate: str):  # type: ignore[no-untyped-def]
    from jgo.parse import Coordinate

    return context.create_dependency(Coordinate.parse(coordinate))


def _repository() -> Path:
    return cache_folder() / "maven"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.servers.kafka_jars", description=__doc__)
    parser.add_argument(
        "--lock", action="store_true", help="resolve the coordinates again and rewrite the lock"
    )
    if parser.parse_args().lock:
        write_lock()
    if count := fetch():
        print(f"fetched {count} jars of Kafka {KAFKA_VERSION}")


if __name__ == "__main__":
    main()
