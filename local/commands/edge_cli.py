"""`marquee edge`: what the edge does at this moment."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from local.stack import state as states
from local.stack.layout import StackError, default_home

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edge.limits import Limits
    from edge.status import EdgeStatus
    from edge.trials import Trials

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.callback()
def edge() -> None:
    """What the edge does at this moment."""


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    all_routes: Annotated[
        bool, typer.Option("--routes", help="Show every route and the limits too.")
    ] = False,
) -> None:
    """Show services with their weights, breakers and outliers, what is on trial, was refused, or cached.

    The exit code is 0 if Envoy is live, each service has a healthy instance, and no breaker is open.
    """
    from edge import trials
    from edge.limits import Limits
    from edge.status import look
    from local.commands import console

    home = default_home()
    running = states.live(home)
    if running is None or "envoy/admin" not in running.stack(home).ports:
        raise StackError("there is no running edge: start the mesh with `marquee up`")
    try:
        found = look(f"http://{running.stack(home).address('envoy', 'admin')}", home.envoy)
    except OSError as error:
        raise StackError(f"Envoy's admin page does not answer, see `marquee status`: {error}") from None
    on_trial = trials.load(home.envoy)
    limits = Limits.load()
    if as_json:
        tiers = {
            tier: {kind: asdict(bucket) for kind, bucket in buckets.items()}
            for tier, buckets in limits.tiers.items()
        }
        deliveries = {service: each.delivery for service, each in on_trial.canaries.items()}
        shown = {"shares": on_trial.shares(), "deliveries": deliveries, "limits": tiers}
        typer.echo(json.dumps({**asdict(found), **shown}, indent=2))
    else:
        _show(found, on_trial, limits if all_routes else None, console.make())
    raise typer.Exit(0 if healthy(found) else 1)


def healthy(found: "EdgeStatus") -> bool:
    """Whether nobody needs to look at it."""
    served = all(
        any(instance.state == "healthy" for instance in service.instances) and not service.open_breakers
        for service in found.services
    )
    return served and found.state == "LIVE"


def _show(found: "EdgeStatus", on_trial: "Trials", limits: "Limits | None", console: "Console") -> None:
    from edge import canary

    console.print(
        f"Envoy {found.version} {found.state} for {found.uptime_s} s; {found.connections} connections, "
        f"{found.active} calls under way, {found.total} so far: {found.failed} failed (5xx), "
        f"{found.limited} over a limit, {found.shed} shed"
    )
    asked = found.cache_hits + found.cache_misses
    console.print(
        f"cache: {found.cache_hits} of {asked} from it; {found.cache_entries} answers, "
        f"{found.cache_bytes / 1024:.0f} KiB; routes: taken {found.routes_updated} times, "
        f"refused {found.routes_refused} times"
    )
    console.print(_services(found, on_trial))
    for line in canary.describe(on_trial):
        console.print(f"on trial: {line.expandtabs(2)}", markup=False, soft_wrap=True)
    if limits is None:
        return
    routes = _table("route", "to", "time-out", "retries", "limit")
    for route in found.routes:
        to = ", ".join(f"{name} {weight}" if len(route.to) > 1 else name for name, weight in route.to.items())
        routes.add_row(route.name, to, route.timeout, route.retries, route.limit)
    console.print(routes)
    buckets = _table("tier", "calls", "at once", "a second after that")
    for tier, kinds in limits.tiers.items():
        for kind, bucket in kinds.items():
            buckets.add_row(tier, kind, str(bucket.burst), str(bucket.per_second))
    console.print(buckets)


def _services(found: "EdgeStatus", on_trial: "Trials") -> "Table":
    """A line for each instance; what concerns all of a service stands in its first one."""
    services = _table(
        "service", "share", "instance", "state", "calls", "errors", "breaker", "refused", "retries", "ejected"
    )
    for service in found.services:
        trial = service.name.removesuffix("_canary_hosts")
        share = on_trial.shares().get(trial, 0)
        if service.name == trial:
            share = 100 - share
        breaker = f"open: {', '.join(service.open_breakers)}" if service.open_breakers else "closed"
        for number, instance in enumerate(service.instances):
            first = number == 0
            colour = "green" if instance.state == "healthy" else "red"
            services.add_row(
                service.name if first else "",
                f"{share:g} %" if first else "",
                instance.address,
                f"[{colour}]{instance.state}",
                str(instance.calls),
                str(instance.errors),
                f"{breaker} ({service.active}/{service.most_active}+{service.most_streams})" if first else "",
                str(service.overflowed) if first else "",
                str(service.retries) if first else "",
                str(service.ejected) if first else "",
            )
    return services


def _table(*columns: str) -> "Table":
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=True)
    return made
