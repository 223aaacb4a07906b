"""What brings logs into the index: rsyslog, which reads the files of all processes as they grow."""

import os
import shutil
from pathlib import Path
from string import Template
from typing import IO, Final

from local.servers import index_server
from local.servers.probes import http
from local.stack.child import run_tool
from local.stack.layout import HOST, Stack, StackError, cache_folder, checkout, write_private

SHIPPER: Final = "shipper"

_MODULE: Final = "rsyslog/omelasticsearch.so"

# Lines of JSON are stored as they are, others with their process and the time at which they were read. Each
# line has a uuid from when it is read on, by which the index refuses what is sent a second time. What can't
# be sent waits on the disk. Its own lines and the index's would beget others.
_CONFIGURATION: Final = Template(r"""
global(workDirectory="$folder" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omelasticsearch")
template(name="day" type="list") {
  constant(value="$index")
  property(name="timegenerated" dateFormat="year" date.inUTC="on") constant(value=".")
  property(name="timegenerated" dateFormat="month" date.inUTC="on") constant(value=".")
  property(name="timegenerated" dateFormat="day" date.inUTC="on")
}
template(name="id" type="list") { property(name="uuid") }
template(name="json" type="list") { property(name="msg") }
template(name="text" type="list") {
  constant(value="{\"@timestamp\":\"")
  property(name="timegenerated" dateFormat="rfc3339" date.inUTC="on")
  constant(value="\",\"log.level\":\"info\",\"message\":\"")
  property(name="msg" format="jsonr")
  constant(value="\",\"ecs.version\":\"8.11.0\",\"service\":{\"name\":\"")
  property(name="$$.name")
  constant(value="\"}}")
}
ruleset(name="ship" queue.type="LinkedList" queue.size="20000" queue.filename="ship"
        queue.maxDiskSpace="64m" queue.saveOnShutdown="on") {
  set $$.name = re_extract($$!metadata!filename, "([^/]+)[.]log\$$", 0, 1, "unknown");
  if $$.name == "$own" or $$.name == "$target" or $$msg == "" then { stop }
  if $$msg startswith "{\"" then { $json } else { $text }
}
input(type="imfile" file="$logs/*.log" tag="marquee" ruleset="ship" addMetadata="on"
      reopenOnTruncate="on" freshStartTail="off")
""")
_ACTION: Final = Template("""
    action(type="omelasticsearch" server="$host" serverport="$port" template="$template"
           searchIndex="day" dynSearchIndex="on" searchType="" esVersion.major="8" bulkmode="on"
           bulkid="id" dynbulkid="on" writeoperation="create" errorFile="$folder/refused.json"
           action.resumeRetryCount="-1" action.resumeInterval="1" action.resumeIntervalMax="10")
  """)


def command(stack: Stack, _name: str) -> list[str]:
    own = _folder(stack)
    return [str(_program()), "-n", "-f", str(own / "rsyslog.conf"), "-i", str(own / "pid")]


async def prepare(stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Brings the program, and writes what it reads and where that goes."""
    if not _program().exists() and await run_tool([str(checkout() / "scripts" / "rsyslog.sh")], log):
        raise StackError(
            "there is no rsyslog with its module for Elasticsearch's protocol, and Debian's packages can't "
            "be had: install rsyslog-elasticsearch, or start without --observability"
        )
    own = _folder(stack)
    own.mkdir(parents=True, exist_ok=True)
    places = {"host": HOST, "port": stack.port(index_server.INDEX, "http"), "folder": own}
    text = _CONFIGURATION.substitute(
        folder=own,
        index=index_server.PATTERN.removesuffix("*"),
        logs=stack.home.logs,
        own=SHIPPER,
        target=index_server.INDEX,
        json=_ACTION.substitute(places, template="json"),
        text=_ACTION.substitute(places, template="text"),
    )
    write_private(own / "rsyslog.conf", text)


async def ready(stack: Stack, _name: str) -> None:
    """The index has lines of today."""
    pattern = index_server.PATTERN
    found = await http(stack.port(index_server.INDEX, "http"), f"/{pattern}/_count?ignore_unavailable=true")
    if b'"count":0,' in found:
        raise StackError("no line has come into the index yet")


def _folder(stack: Stack) -> Path:
    return stack.data / SHIPPER


def _program() -> Path:
    """The machine's own if it has the module, else what was unpacked or will be."""
    path = os.environ.get("PATH", "")
    on_path = shutil.which("rsyslogd", path=f"{path}:/usr/sbin")
    if on_path and any(Path("/usr/lib").glob(f"*-linux-gnu/{_MODULE}")):
        return Path(on_path)
    return cache_folder() / "rsyslog" / "rsyslogd"
