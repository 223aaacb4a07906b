"""`marquee dlq`: the dead letters of the running mesh. The service that owns the queue does the work."""

import os
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer

from local.servers import services
from local.stack import state as states
from local.stack.layout import default_home

app = typer.Typer(
    no_args_is_help=True,
    help="Dead letters: messages that could not be processed, kept with their reason.",
)


class Of(StrEnum):
    """Whose dead letters."""

    submissions = "submissions"
    """Of rating_svc's workers: what users submitted."""
    changes = "changes"
    """Of ranking_svc's consumers: what the relay handed on."""
    facts = "facts"
    """Of ranking_svc's consumers: what movie_svc told of movies."""


_Of = Annotated[Of, typer.Option("--of", help="Those of rating_svc's workers, or ranking_svc's consumers.")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", show_default=False)]


@app.command("list")
def list_(of: _Of = Of.submissions) -> None:
    """List those not yet redriven: id, time, reason, and where each was first written."""
    _run("list", of, [])


@app.command()
def show(ids: _Ids = None, of: _Of = Of.submissions) -> None:
    """Show all that letters hold: those of these ids, or all not yet redriven."""
    _run("show", of, ids or [])


@app.command()
def redrive(ids: _Ids = None, of: _Of = Of.submissions) -> None:
    """Send letters to where they come from: those of these ids, or all not yet redriven.

    Safe to repeat: each keeps its id and its place in the order, so none counts twice and none undoes what
    its user has submitted since.
    """
    _run("redrive", of, ids or [])


@app.command()
def discard(
    ids: Annotated[list[str], typer.Argument(metavar="PARTITION:OFFSET...", show_default=False)],
    of: _Of = Of.submissions,
) -> None:
    """Be done with letters of these ids, without sending them: of those that nobody will ever read.

    They are not listed any more, and their alert ends. Their topic keeps them as long as all others.
    """
    _run("discard", of, ids)


def _run(verb: str, of: Of, ids: list[str]) -> None:
    home = default_home()
    stores = services.stores(states.running_stack(home), "rating_svc")
    words = [sys.executable, "-m", "rating_svc", "dlq", verb, *ids, f"--of={of}"]
    raise typer.Exit(subprocess.call(words, env={**os.environ, **stores}))
