"""A new release on trial: what share of a service's calls goes to it, as an operator sets it.

`python -m edge.canary set --dir DIR SERVICE PERCENT` changes the routes in the folder that `edge.render`
wrote to, and a running Envoy takes them up at once. What an operator sets overrides flags until `clear`.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from edge import trials, upstreams
from edge.live import Routes
from edge.trials import Audience, Canary, Owner, Trials
from mesh.services import PUBLIC


def set_share(folder: Path, service: str, percent: float) -> None:
    """Sends `percent` (0–100) of a service's calls to its new release.

    Raises:
        ValueError: that is no percentage, or there is no such service.
    """
    _change(folder, service, Audience(trials.check_percent(percent)), "operator")


def deliver(folder: Path, service: str) -> None:
    """Lets the controller deliver a new release step by step (`edge.delivery`).

    Raises:
        ValueError: there is no such service.
    """
    _change(folder, service, Audience(), "controller")


def clear(folder: Path, service: str) -> None:
    """Ends a trial: all calls go to the stable release, unless a flag says otherwise.

    Raises:
        ValueError: there is no such service.
    """
    _change(folder, service, None)


def shares(folder: Path) -> dict[str, float]:
    """The percentage of everybody's calls that goes to a new release, by service on trial."""
    return trials.load(folder).shares()


def set_endpoints(folder: Path, service: str, addresses: Sequence[str]) -> None:
    """Tells the edge where the instances of a service's new release are."""
    upstreams.write_endpoints(folder, upstreams.canary_hosts_of(service), addresses)


def describe(on_trial: Trials) -> list[str]:
    """A line a trial."""
    lines = []
    for service, canary in on_trial.canaries.items():
        audience = canary.audience
        line = f"{service}\t{audience.percent:g} %\tby {canary.owner}"
        if audience.segments:
            line += f"\tsegments: {len(audience.segments)}"
        if canary.delivery:
            line += f"\t{canary.delivery.get('phase', '')}: {canary.delivery.get('reason', '')}".rstrip(": ")
        lines.append(line)
    for name, experiment in on_trial.experiments.items():
        weights = ", ".join(f"{variant} {weight}" for variant, weight in experiment.variants.items())
        lines.append(f"{name}\t{experiment.audience.percent:g} % take part\t{weights}")
    return lines


def _change(folder: Path, service: str, audience: Audience | None, owner: Owner = "operator") -> None:
    routes = Routes(folder)
    if service not in routes.services:
        raise ValueError(f"there is no service {service!r}: there are {', '.join(sorted(routes.services))}")
    with trials.changing(folder) as now:
        canary = None
        if audience is not None:
            known = now.canaries.get(service, Canary())
            canary = dataclasses.replace(known, audience=audience, owner=owner, delivery={})
        routes.change(now.with_canary(service, canary))


def main(argv: Sequence[str] | None = None) -> int:
    """`set` changes a share, `auto` leaves it to the controller, `clear` ends a trial, `show` prints all."""
    parser = argparse.ArgumentParser(prog="python -m edge.canary", description="New releases on trial.")
    commands = parser.add_subparsers(dest="command", required=True)
    change = commands.add_parser("set", help="send a share of a service's calls to its new release")
    auto = commands.add_parser("auto", help="let the controller raise the share step by step, or roll back")
    end = commands.add_parser("clear", help="end a trial")
    show = commands.add_parser("show", help="print what is on trial")
    for command in (change, auto, end, show):
        command.add_argument("--dir", type=Path, required=True, help="folder that edge.render wrote to")
    for command in (change, auto, end):
        command.add_argument("service", help=", ".join(service.name for service in PUBLIC))
    change.add_argument("percent", type=float, help="0 to 100; at 0 only marquee-release: canary reaches it")
    given = parser.parse_args(argv)
    try:
        if given.command == "set":
            set_share(given.dir, given.service, given.percent)
        elif given.command == "auto":
            deliver(given.dir, given.service)
        elif given.command == "clear":
            clear(given.dir, given.service)
        for line in describe(trials.load(given.dir)):
            print(line)
    except (ValueError, FileNotFoundError) as error:
        print(f"edge.canary: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
