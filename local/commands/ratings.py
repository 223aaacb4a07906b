"""`marquee ratings`: what operators do to the log of submissions. rating_svc does the work."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from local.servers import services
from local.stack import state as states
from local.stack.layout import default_home

app = typer.Typer(no_args_is_help=True, help="The log that ratings are written to.")


@app.callback()
def _group() -> None:
    """Keeps `grow` a command of its own."""


@app.command()
def grow(partitions: Annotated[int, typer.Argument(help="How many: more than it has now.", min=2)]) -> None:
    """Give the log more partitions while it is written to and read.

    Writes wait for about a second. Altering the topic by Kafka's own tools does nothing instead: users
    would move, and their order would be lost.
    """
    home = default_home()
    stores = services.stores(states.running_stack(home), "rating_svc")
    words = [sys.executable, "-m", "rating_svc", "grow", str(partitions)]
    raise typer.Exit(subprocess.call(words, env={**os.environ, **stores}))
