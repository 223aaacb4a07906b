"""`marquee ratings`: what operators do to the log and the databases of ratings. rating_svc does the work."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from local.servers import services
from local.stack import state as states
from local.stack.layout import StackError, default_home

app = typer.Typer(no_args_is_help=True, help="The log and the databases of ratings.")


@app.command()
def grow(partitions: Annotated[int, typer.Argument(help="How many: more than it has now.", min=2)]) -> None:
    """Give the log more partitions while it is written to and read.

    Writes wait for about a second. Altering the topic by Kafka's own tools does nothing instead: users
    would move, and their order would be lost.
    """
    raise typer.Exit(_rating_svc("grow", str(partitions)))


@app.command("reshard")
def reshard_command(
    over: Annotated[
        int | None,
        typer.Option("--over", metavar="N", min=1, help="The first N only; the others are emptied."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would move.")] = False,
) -> None:
    """Spread users evenly over all databases of ratings, while they rate and read.

    Nobody waits. If it fails half-way, run it again: it goes on from there.
    """
    words = [*(["--over", str(over)] if over else []), *(["--plan"] if plan else [])]
    raise typer.Exit(_rating_svc("reshard", *words))


def reshard() -> None:
    """Spreads users over the databases of a stack that has just started.

    Raises:
        StackError: it could not.
    """
    if _rating_svc("reshard"):
        raise StackError("users are not spread evenly; run `marquee ratings reshard`")


def _rating_svc(*words: str) -> int:
    home = default_home()
    stores = services.stores(states.running_stack(home), "rating_svc")
    return subprocess.call([sys.executable, "-m", "rating_svc", *words], env={**os.environ, **stores})
