"""`marquee drill`: lists drills, runs one, mends what a killed one has left."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from local.stack.layout import Home, StackError, default_home

if TYPE_CHECKING:
    from rich.console import Console

    from local.drills.running import Report


def drill(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which; without one, they are listed.")] = "",
    hold: Annotated[
        float,
        typer.Option(
            "--hold", help="Seconds that it stays broken once its alert fires: to follow the runbook."
        ),
    ] = 0.0,
    mend: Annotated[
        bool, typer.Option("--mend", help="Mend what a drill that was killed has broken.")
    ] = False,
) -> None:
    """Break one known thing, show which alert fires after how many seconds, and mend it.

    It waits until the alert has ended. The mesh must run with --observability; where MARQUEE_ENVIRONMENT is
    production, nothing is broken. Ctrl-C mends too.
    """
    home = default_home()
    if mend:
        _mend(home)
    elif name:
        _run(home, name, hold)
    else:
        from local.commands import console

        _show(console.make())


def _show(console: "Console") -> None:
    from local.drills.table import DRILLS

    for each in DRILLS:
        console.print(f"[bold]{each.name}[/]: {each.breaks}")
        console.print(f"  users notice: {each.notice}")
        console.print(f"  alert: {each.alert}; runbook: {each.runbook}", soft_wrap=True)


def _run(home: Home, name: str, hold_s: float) -> None:
    from local.drills import running, table

    found = table.named(name)
    if found is None:
        names = ", ".join(each.name for each in table.DRILLS)
        raise StackError(f"there is no drill {name!r}: there are {names}")
    on = running.ground(home)
    try:
        report = asyncio.run(running.run(on, found, typer.echo, hold_s))
    except asyncio.CancelledError:
        raise StackError(f"{name} was ended midway; what it had broken is mended") from None
    except KeyboardInterrupt:
        typer.echo(f"{name} was ended midway; what it had broken is mended")
        raise
    _tell(report)


def _tell(report: "Report") -> None:
    if report.others:
        typer.echo(f"besides, these fired: {', '.join(report.others)}")
    if report.silenced:
        typer.echo(f"of them Alertmanager kept silent what follows from it: {', '.join(report.silenced)}")
    typer.echo(
        f"{report.drill.name}: {report.drill.alert} fired after {report.fired_s:.0f} s, was heard of after "
        f"{report.heard_s:.0f} s, and had ended {report.resolved_s:.0f} s after the mending"
    )


def _mend(home: Home) -> None:
    from local.drills import running

    if not asyncio.run(running.mend_left(home, typer.echo)):
        typer.echo("no drill has left anything broken")


def mend_left(home: Home) -> None:
    """Mends what a drill that was killed has left, before `up` and `down`; says so where that can't be."""
    if not home.drill_file.exists():
        return
    from local.drills import running

    try:
        asyncio.run(running.mend_left(home, typer.echo))
    except StackError as error:
        typer.echo(f"a drill may have left something broken: {error}", err=True)
