"""Apache Kafka from Maven coordinates: `kafka.lock` names every jar with its SHA-256.

`python -m local.servers.kafka_jars` fetches them; with `--lock` it resolves the
coordinates again and rewrites the lock.
"""

import argparse
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.servers import maven
from local.stack.layout import StackError

LOCK: Final = Path(__file__).with_name("kafka.lock")
KAFKA_VERSION: Final = "4.4.0"

# kafka-clients stands here by itself: else log4j's parent POM, which manages
# Kafka's version for log4j's own appender, would drag in an older one.
_COORDINATES: Final = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3",
)
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
        return maven.repository() / group.replace(".", "/") / artifact / version / f"{artifact}-{version}.jar"


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
    context = maven.context()
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as threads:
        list(threads.map(lambda jar: maven.fetch(context, jar.coordinate, jar.sha256), missing))
    return len(missing)


def read_lock(lock: Path = LOCK) -> list[Jar]:
    lines = (line.split() for line in lock.read_text().splitlines() if not line.startswith("#"))
    return [Jar(coordinate, sha256) for coordinate, sha256 in lines]


def write_lock(lock: Path = LOCK, wanted: Sequence[str] = _COORDINATES) -> None:
    """Resolves the coordinates and writes what they need into the lock."""
    context = maven.context()
    named, others = context.resolver.resolve([maven.dependency(context, text) for text in wanted])
    artifacts = [d.artifact for d in named] + [d.artifact for d in others if d.scope in _SCOPES]
    lines = []
    for artifact in artifacts:
        content = artifact.resolve().read_bytes()
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.append(f"{coordinate} {hashlib.sha256(content).hexdigest()}\n")
    head = "# Made by `make lock`: coordinate, SHA-256 of the jar.\n"
    lock.write_text(head + "".join(sorted(set(lines))))


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
