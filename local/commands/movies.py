"""`marquee movies`: fills movie_svc's catalogue from files, on the stores of the running stack.

movie_svc itself does the work, so that a title comes in with its event and its place in the caches whichever
way it comes.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from local.stack import state as states
from local.stack.layout import Stack, StackError, default_home

app = typer.Typer(no_args_is_help=True, help="Fill the catalogue from files.")


@app.command("import")
def import_answers(
    file: Annotated[
        Path, typer.Argument(help="OMDb's answers, one JSON a line.", exists=True, dir_okay=False)
    ],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Also the lines that were imported before.")
    ] = False,
) -> None:
    """Store OMDb's answers: the answer itself on each line, or {"body": answer}.

    An import that was broken off goes on where it stopped. Lines that can't be read are named and passed
    over; the exit code is then 3.
    """
    _run("import", str(file), *(["--from-start"] if from_start else []))


@app.command("import-catalogue")
def import_catalogue(
    movies: Annotated[Path, typer.Option(help="MovieLens' movies.csv.", exists=True, dir_okay=False)],
    links: Annotated[Path, typer.Option(help="MovieLens' links.csv.", exists=True, dir_okay=False)],
) -> None:
    """Store titles, years and genres of MovieLens. What OMDb said of a title stays as it is.

    Lines that can't be read are named and passed over; the exit code is then 3.
    """
    _run("import-catalogue", f"--movies={movies}", f"--links={links}")


def command(*arguments: str) -> list[str]:
    """movie_svc's own command."""
    return [sys.executable, "-m", "movie_svc", *arguments]


def environment(stack: Stack) -> dict[str, str]:
    """What that command needs to know of a stack."""
    from local.servers import services  # not needed to say what there is: `marquee --help` must be quick

    # A line of log for each value that OMDb wrote in a new way would hide the progress.
    quiet = {"MARQUEE_LOG_LEVEL": os.environ.get("MARQUEE_LOG_LEVEL", "warning")}
    return {**os.environ, **services.stores(stack, "movie_svc"), **quiet}


def _run(*arguments: str) -> None:
    running = states.live(default_home())
    if running is None:
        raise StackError("the mesh is not up: start it with `marquee up`, or `marquee up --infra`")
    made = environment(running.stack(default_home()))
    raise typer.Exit(subprocess.call(command(*arguments), env=made))
