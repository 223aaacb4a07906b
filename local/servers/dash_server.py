"""The page of the dashboards beside the mesh: how it is started."""

import sys
from typing import IO, Final

from local.dash import bundle
from local.servers import index_server, jaeger, observability, probes
from local.stack.layout import Stack, checkout

DASH: Final = "dash"

_OBSERVABILITY: Final = checkout() / "k8s" / "observability"
_DASHBOARDS: Final = _OBSERVABILITY / "dashboards" / "perses"
_RUNBOOKS: Final = _OBSERVABILITY / "runbooks"


def command(stack: Stack, name: str) -> list[str]:
    return [
        *(sys.executable, "-m", "local.dash"),
        f"--address={stack.address(name, 'http')}",
        f"--bundle={bundle.folder()}",
        f"--dashboards={_DASHBOARDS}",
        f"--prometheus=http://{stack.address(observability.PROMETHEUS, 'http')}",
        f"--index=http://{stack.address(index_server.INDEX, 'http')}/{index_server.PATTERN}",
        *_traces(stack),
        f"--scrape-interval={observability.scrape_interval()}",
        f"--alertmanager=http://{stack.address(observability.ALERTMANAGER, 'http')}",
        f"--runbooks={_RUNBOOKS}",
    ]


def _traces(stack: Stack) -> list[str]:
    if f"{jaeger.JAEGER}/http" not in stack.ports:
        return []
    return [f"--jaeger=http://{stack.address(jaeger.JAEGER, 'http')}"]


async def prepare(_stack: Stack, _name: str, log: IO[bytes]) -> None:
    """Makes the page. Without it the server still runs, and says so: alerts need no page."""
    try:
        await bundle.make(log)
    except bundle.BundleError as error:
        log.write(f"{error}\n".encode())
        log.flush()


async def ready(stack: Stack, name: str) -> None:
    """It tells which dashboards there are."""
    await probes.http(stack.port(name, "http"), "/dash/pages.json")


def environment(_stack: Stack, _name: str) -> dict[str, str]:
    return {"MALLOC_ARENA_MAX": "2"}


def where(stack: Stack) -> str:
    """What to tell people about the page, as a sentence."""
    url = f"http://{stack.address(DASH, 'http')}/dash/"
    if (bundle.folder() / "index.html").exists():
        return f"dashboards: {url}"
    return "there is no page of dashboards: see `marquee logs dash`"
