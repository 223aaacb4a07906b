"""Looking at the mesh: its processes, its traffic, this machine, what was written, and how much is."""
# Only what every command needs is imported up here: `marquee --help` must be quick.

import json
from typing import Annotated

import typer

from local.commands import completion, starting
from local.stack import state as states
from local.stack.layout import default_home

app = typer.Typer()


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all ports.")] = False,
) -> None:
    """Show each process: address, readiness (asked now), pid, restarts, memory and CPU.

    The exit code is 0 if everything is ready.
    """
    from local.commands import console
    from local.commands.status import look, show

    found = look(default_home(), states.running(default_home()))
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        show(found, console.make())
    raise typer.Exit(0 if found.healthy else 1)


@app.command()
def dash(
    every: Annotated[float, typer.Option("--every", help="How often, in seconds.", min=0.5, max=60)] = 2.0,
) -> None:
    """Show the mesh as it works: requests, faults, latencies, hits and lag, until Ctrl-C.

    Into a file or a pipe, it shows one look.
    """
    from local.commands import console
    from local.commands import dash as page

    page.run(states.running_stack(default_home()), every, console.make())


@app.command()
def doctor() -> None:
    """Look at this machine: Python, packages, ports, memory, disk, clock, leftovers of an earlier mesh.

    The exit code is 1 if something is wrong; each sentence says what to do.
    """
    from local.commands.doctor import look

    wrong = 0
    for found in look(default_home(), starting.edge_port()):
        wrong += bool(found.problem)
        typer.echo(f"{'WRONG' if found.problem else 'ok':<6}{found.problem or found.what}")
    typer.echo("nothing is wrong" if not wrong else f"to be mended: {wrong}")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def logs(
    names: completion.Logs = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 20,
    raw: Annotated[bool, typer.Option("--raw", help="JSON lines as they were written.")] = False,
    trace: Annotated[
        str,
        typer.Option("--trace", metavar="ID", help="Only of one call: its trace's or request's id."),
    ] = "",
) -> None:
    """Show what the processes wrote. `access` is the edge's access log, `audit` what operators did."""
    from local.commands import logview, tracelog

    home = default_home()
    if trace:
        for found in tracelog.find(home, trace):
            typer.echo(found.text if raw else str(found))
        return
    chosen = names or [name for name in logview.names(home) if name != "access"]
    follower = logview.Follower(home, chosen, raw=raw)
    for line in logview.last(home, chosen, count, raw=raw):
        typer.echo(line)
    if follow:
        for line in follower:
            typer.echo(line)


@app.command("log-level")
def log_level(
    level: Annotated[str, typer.Argument(help="debug, info, warning, error; none: as started.")] = "",
    process: completion.Process = "*",
    logger: Annotated[str, typer.Option("--logger", help="Of one part of it, such as mesh.kafka.")] = "",
) -> None:
    """Change what running processes write: within some seconds, without a restart.

    Without arguments, all are as they were started again.
    """
    from local.commands import levels

    typer.echo(levels.change(default_home(), process, logger, level))
