"""What `marquee up` reads and says."""

import os
import subprocess
from collections.abc import Sequence
from typing import NoReturn

import typer

from local.stack import state as states
from local.stack.layout import (
    DEFAULT_EDGE_PORT,
    MOST_SHARDS,
    Home,
    Shape,
    Stack,
    StackError,
    shard_name,
)


def already_up(running: states.State, shape: Shape, wanted: Sequence[str]) -> NoReturn:
    """Ends `up` where a stack is up: well, if it is the one that was asked for.

    Raises:
        StackError: it has another shape, or lacks processes that were asked for.
    """
    if running.shape != shape:
        raise StackError(f"a {running.shape} stack is up, not a {shape} one: run `marquee down` first")
    if missing := set(wanted) - set(running.processes):
        raise StackError(f"already up, without {', '.join(sorted(missing))}: run `marquee down` first")
    typer.echo(f"already up: {len(running.processes)} processes, {running.phase}; see `marquee status`")
    raise typer.Exit(0 if running.phase == "ready" else 1)


def check_shards(shards: int, home: Home, shape: Shape) -> None:
    """Whether ratings may be spread over so many databases.

    Raises:
        StackError: there would be too few for the ratings that are kept, or the shape has one alone.
    """
    if shape is Shape.CLUSTER and shards > 1:
        raise StackError("--shards can't be used with --cluster: a stack of that shape has one database")
    kept = max((n for n in range(1, MOST_SHARDS) if (home.data(shape) / shard_name(n)).exists()), default=0)
    if shards <= kept:
        raise StackError(f"ratings are kept in {kept + 1} databases: give --shards {kept + 1}, or more")


def use_recorded_answers() -> None:
    """Lets the OMDb simulator answer from recorded answers where the data folder has them."""
    from local.commands.movielens import omdb_answers

    recorded = omdb_answers()
    if recorded is not None:
        os.environ.setdefault("MARQUEE_OMDB_ANSWERS", str(recorded))


def where(stack: Stack) -> str:
    """What `up` says of where the API listens; empty without an edge."""
    return f": {stack.edge_url}" if "envoy/edge" in stack.ports else ""


def edge_port() -> int:
    """The port that MARQUEE_EDGE_PORT asks for.

    Raises:
        StackError: it is no port.
    """
    text = os.environ.get("MARQUEE_EDGE_PORT") or str(DEFAULT_EDGE_PORT)
    if not text.isdigit() or int(text) > 65535:
        raise StackError(f"MARQUEE_EDGE_PORT can't be {text!r}: it is a TCP port, or 0 for any")
    return int(text)


def instances(texts: Sequence[str]) -> dict[str, int]:
    """Reads `--scale`'s NAME=COUNT.

    Raises:
        StackError: one can't be read.
    """
    found = {}
    for text in texts:
        name, _, count = text.partition("=")
        if not count.isdigit() or not 1 <= int(count) <= 9:
            raise StackError(f"--scale {text} can't be used: give NAME=COUNT with a count from 1 to 9")
        found[name] = int(count)
    return found


def traces() -> list[str]:
    """What stands for Jaeger, which is built the first time; nothing, with the reason told, without it."""
    from local.servers import jaeger
    from local.supervision.processes import TRACES

    if elsewhere := os.environ.get(jaeger.ENDPOINT):
        typer.echo(f"without Jaeger: {jaeger.ENDPOINT} sends spans to {elsewhere}", err=True)
        return []
    # Here and not in the background, for people to see what takes minutes.
    if subprocess.run([jaeger.BUILD], stdout=subprocess.DEVNULL, check=False).returncode:
        typer.echo("without Jaeger: it could not be built; there are no traces to look at", err=True)
        return []
    return [TRACES]
