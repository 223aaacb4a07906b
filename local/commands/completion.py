"""Arguments that the shell completes: names of processes and services (`marquee --install-completion`)."""

from typing import Annotated

import typer

from local.stack import state as states
from local.stack.layout import default_home
from mesh.services import PUBLIC, SERVICES


def _processes() -> list[str]:
    """Those of the mesh that is up."""
    running = states.live(default_home())
    return sorted(running.processes) if running else []


def _logs() -> list[str]:
    """What there are lines of; also after the mesh has stopped."""
    from local.commands import logview  # only where it is needed: each Tab waits for imports

    return sorted(logview.names(default_home()))


def _services() -> list[str]:
    return [service.name for service in SERVICES]


def _public() -> list[str]:
    return [service.name for service in PUBLIC]


Processes = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Processes; all of ours if none.", autocompletion=_processes),
]
Logs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Processes; all if not given.", autocompletion=_logs),
]
Process = Annotated[
    str, typer.Option("--process", help="Of one process: rating_svc-worker.", autocompletion=_processes)
]
Service = Annotated[str, typer.Argument(help=", ".join(_services()), autocompletion=_services)]
PublicService = Annotated[str, typer.Argument(help=", ".join(_public()), autocompletion=_public)]
