"""etcd: where Patroni keeps who leads, and which standby has all that was committed."""

import asyncio
import shutil
from pathlib import Path
from typing import IO, Final

from local.stack.child import run_tool
from local.stack.layout import Home, Shape, Stack, StackError, cache_folder, checkout
from local.stack.layout import kept_ports as ports_of_last_time

_UNPACKED: Final = Path("etcd-server") / "usr" / "bin" / "etcd"
_FETCHING: Final = asyncio.Lock()


def command(stack: Stack, name: str) -> list[str]:
    peers = {each: f"http://{stack.address(each, 'peer')}" for each in stack.names("etcd")}
    client = f"http://{stack.address(name, 'client')}"
    return [
        str(_binary()),
        *("--name", name, "--data-dir", str(_folder(stack, name))),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name]),
        *("--initial-cluster", ",".join(f"{each}={url}" for each, url in peers.items())),
        *("--initial-cluster-state", "new", "--initial-cluster-token", "marquee"),
        # A leader that is gone is missed before Patroni's patience (retry_timeout) ends.
        *("--heartbeat-interval", "150", "--election-timeout", "1500"),
        # Patroni writes some hundred bytes every other second: no history of that is needed.
        *("--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000"),
        *("--snapshot-count", "2000", "--quota-backend-bytes", str(64 * 1024 * 1024)),
        *("--log-level", "warn"),
    ]


async def prepare(stack: Stack, name: str, log: IO[bytes]) -> None:
    """Brings the program where it is not installed, and makes the data folder."""
    async with _FETCHING:  # all three are prepared at once
        if not _binary().exists() and await run_tool(
            [str(checkout() / "scripts" / "unpack.sh"), "etcd-server", str(cache_folder() / "etcd-server")],
            log,
        ):
            raise StackError("there is no etcd, and Debian's package can't be had: install etcd-server")
    _folder(stack, name).mkdir(mode=0o700, exist_ok=True)


def kept_ports(home: Home) -> dict[str, int]:
    """The ports that a cluster's etcd had last time, by `INSTANCE/PURPOSE`.

    The members know each other by their addresses, so that they can't have others
    the next time. Thrown away, they would forget which standby has everything.
    """
    return {
        key: port
        for key, port in ports_of_last_time(home).items()
        if key.startswith("etcd") and (home.data(Shape.CLUSTER) / key.partition("/")[0]).exists()
    }


def _folder(stack: Stack, name: str) -> Path:
    return stack.data / name


def _binary() -> Path:
    """The one on PATH, else where Debian's package is or will be unpacked."""
    on_path = shutil.which("etcd")
    return Path(on_path) if on_path else cache_folder() / _UNPACKED
