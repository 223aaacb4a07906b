"""The whole of Marquee on one machine: start it, look at it, load it, check it."""
# Only what every command needs is imported up here: `marquee --help` must be quick.

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from local.commands import (
    audit,
    canaries,
    completion,
    dead_letters,
    edge_cli,
    looking,
    movies,
    ratings,
    starting,
)
from local.drills import command as drills
from local.stack import state as states
from local.stack.layout import MOST_SHARDS, Shape, StackError, default_home

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(edge_cli.app, name="edge")
app.add_typer(movies.app, name="movies")
app.add_typer(ratings.app, name="ratings")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(canaries.app, name="canary")
app.add_typer(looking.app)
app.command()(drills.drill)


_Cluster = Annotated[
    bool,
    typer.Option(
        "--cluster",
        help="The shape of production: stores that outlive the loss of a server, two of each service.",
    ),
]
_Observability = Annotated[
    bool,
    typer.Option(
        "--observability",
        help="Prometheus, Alertmanager, Jaeger, logs and dashboards besides; MARQUEE_ALERT_WEBHOOK "
        "hears of alerts. The first time, what is lacking is fetched and built: minutes.",
    ),
]


@app.command()
def up(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Start only this process and what it needs; repeatable."),
    ] = None,
    infra: Annotated[
        bool, typer.Option("--infra", help="Start PostgreSQL, Redis, Kafka and the OMDb simulator alone.")
    ] = False,
    scale: Annotated[
        list[str] | None,
        typer.Option("--scale", metavar="NAME=COUNT", help="Run COUNT instances of a process; repeatable."),
    ] = None,
    cluster: _Cluster = False,
    shards: Annotated[
        int,
        typer.Option("--shards", min=1, max=MOST_SHARDS, help="Databases over which ratings are spread."),
    ] = 1,
    observability: _Observability = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay here, and stop everything on Ctrl-C.")
    ] = False,
) -> None:
    """Start the mesh, and wait until all of it is ready.

    The edge listens on 127.0.0.1:8080, or on the port in MARQUEE_EDGE_PORT (0: any). Data, logs and state are
    in .marquee, or in MARQUEE_HOME; each shape has data of its own.
    """
    from local.supervision import progress, supervisor
    from local.supervision.processes import instance_names, select, usual_instances

    home = default_home()
    names = ["infra"] if infra else list(only or [])
    if observability:
        names += ["observability", *starting.traces()]
    shape = Shape.CLUSTER if cluster else Shape.PLAIN
    instances = {**usual_instances(shape), **starting.instances(scale or [])}
    starting.check_shards(shards, home, shape)
    if (running := states.live(home)) is not None:
        starting.already_up(running, shape, instance_names(select(names, shape, shards), instances))
    canaries.stop_all(home)  # of a stack that was killed
    starting.use_recorded_answers()
    words = supervisor.arguments(home, names, instances, starting.edge_port(), shape, shards)
    home.make()
    if foreground:
        raise typer.Exit(subprocess.call(words))
    began = time.monotonic()
    state = progress.start(home, words)
    typer.echo(f"ready after {time.monotonic() - began:.1f} s{starting.where(state.stack(home))}")
    drills.mend_left(home)
    if shards > 1 and not (infra or only):
        ratings.reshard()
    if observability:
        from local.servers import dash_server

        typer.echo(dash_server.where(state.stack(home)))


@app.command()
def restart(
    names: completion.Processes = None,
) -> None:
    """Restart processes one after the other while calls come in; Envoy hands its sockets to a new one.

    No call is lost where a service has two instances or more (`marquee up --scale movie_svc=2`).
    """
    from local.supervision import rolling

    rolling.restart(default_home(), names or [], typer.echo)


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the data, logs and secrets as well.")] = False,
) -> None:
    """Stop everything in order: calls end, databases write their checkpoints. The data stay."""
    from local.supervision import progress

    home = default_home()
    began = time.monotonic()
    drills.mend_left(home)
    canaries.stop_all(home)
    stopped = progress.stop(home)
    typer.echo(f"stopped after {time.monotonic() - began:.1f} s" if stopped else "nothing is up")
    if wipe:
        home.remove()
        typer.echo(f"removed {home.root}")


@app.command()
def token(
    user: Annotated[str, typer.Option("--user", help="The subject: whom the token is for.")] = "alice",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="A scope, such as marquee.admin; repeatable.")
    ] = None,
    ttl: Annotated[int, typer.Option("--ttl", help="How long it is valid, in seconds.", min=1)] = 3600,
    tier: Annotated[str, typer.Option("--tier", help="The rate-limit tier: free or partner.")] = "free",
    link: Annotated[bool, typer.Option("--link", help="Print a link that brings it to the page.")] = False,
) -> None:
    """Print a token of the development issuer, for `Authorization: Bearer ...`."""
    from local.commands import tokens

    made = tokens.issue(default_home(), user, scope or (), ttl, tier)
    typer.echo(tokens.link(default_home(), made) if link else made)


@app.command()
def top(
    genre: Annotated[str, typer.Option("--genre", help="Only this genre, such as Drama.")] = "",
    decade: Annotated[int, typer.Option("--decade", help="Only this decade, by its first year.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1, max=100)] = 20,
) -> None:
    """Show the chart of the best-rated movies, read through the edge."""
    from local.commands import chart, console

    query = {"genre": genre, "decade": str(decade or ""), "pageSize": str(count)}
    chart.show(chart.read(states.running_stack(default_home()), query), console.make())


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Set what differs to what the recount says.")
    ] = False,
) -> None:
    """Compare ranking_svc's aggregates with a recount of all ratings. The exit code is 1 if they differ."""
    from local.commands import admin

    answer = admin.reconcile(states.running_stack(default_home()), repair=repair)
    typer.echo(f"compared {answer.compared} movies: {answer.differing} differ, {answer.repaired} repaired")
    for mismatch in answer.mismatches:
        typer.echo(f"  {mismatch.movie}: has {list(mismatch.aggregate)}, recount {list(mismatch.recount)}")
    raise typer.Exit(0 if answer.differing == answer.repaired else 1)


@app.command()
def certificates(
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Issue all of them again; running processes read the new ones.")
    ] = False,
) -> None:
    """Show how long the mesh's certificates are valid, or issue new ones."""
    from local.stack import certificates as files

    home = default_home()
    files.ensure(home, rotate=rotate)
    for name in files.NAMES:
        typer.echo(f"{name:<12} valid until {files.expiry(home, name):%Y-%m-%d %H:%M} UTC")


@app.command()
def env(service: completion.Service) -> None:
    """Print the environment of a service, to run one by hand: eval "$(marquee env movie_svc)"."""
    from local.servers.services import certificate, stores

    stack = states.running_stack(default_home())
    for name, value in {**stores(stack, service), **certificate(stack, service)}.items():
        typer.echo(f"export {name}='{value}'")


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with MovieLens' ratings.csv, movies.csv and links.csv."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Load only so many ratings; 0 for all.", min=0)] = 0,
    batch: Annotated[bool, typer.Option("--batch", help="Load with :batchRate alone.")] = False,
    single: Annotated[bool, typer.Option("--single", help="Load with one PUT a rating alone.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Start the shape of production, if nothing is up yet.")
    ] = False,
) -> None:
    """Start the mesh, load real ratings through HTTP, and check the chart against a recount.

    Most of the ratings go in by :batchRate, a twentieth with one PUT each; both speeds are shown.
    The mesh stays up. MARQUEE_DATA names the data's folder where --data is not given. Lines that can't be
    read are named and passed over; the exit code is then 3.
    """
    from local.commands import demo as demonstration
    from local.commands import loading

    if states.live(default_home()) is None:
        up(cluster=cluster)
    way = loading.Way.BATCH if batch else loading.Way.SINGLE if single else loading.Way.BOTH
    raise typer.Exit(demonstration.run(states.running_stack(default_home()), data, limit=limit, way=way))


@app.command()
def load(
    users: Annotated[int, typer.Option("--users", help="How many users act at once.", min=1, max=512)] = 32,
    seconds: Annotated[int, typer.Option("--seconds", help="For how long.", min=1, max=600)] = 20,
    mix: Annotated[
        str, typer.Option("--mix", help="Weights of the kinds of request; see below.")
    ] = "movie=50,score=15,top=10,search=5,rate=15,mine=5",
) -> None:
    """Measure the running mesh: closed-loop HTTP load on the loopback, latencies, CPU per request.

    Kinds: movie (GET a movie), score (GET its score), top (a chart), search, rate (PUT a rating), mine (GET
    one's own rating).
    """
    from local.commands import loadtest

    stack = states.running_stack(default_home())
    failed = loadtest.run(stack, users=users, seconds=seconds, mix=loadtest.parse(mix))
    raise typer.Exit(1 if failed else 0)


def main() -> None:
    """Entry point: an expected failure is one sentence, not a traceback."""
    try:
        with audit.noted(sys.argv[1:]):
            app()
    except StackError as error:
        print(f"marquee: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
