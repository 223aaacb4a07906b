"""A new release on trial: what share of a service's calls go to it.

`python -m edge.canary set --dir DIR SERVICE PERCENT` rewrites the route files that `edge.render` wrote, and a
running Envoy takes them up at once. The files themselves are the only record of the shares.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge import files
from edge.upstreams import canary_of

_FILES = ("routes.yaml", "routes-inner.yaml")


def shares(folder: Path) -> dict[str, int]:
    """The percentage of calls that go to a new release, by service; services without a trial are left out."""
    found = {}
    for action in _actions(_read(folder / name) for name in _FILES):
        if "weighted_clusters" in action:
            stable, trial = action["weighted_clusters"]["clusters"]
            found[stable["name"]] = trial["weight"]
    return found


def set_share(folder: Path, service: str, percent: int) -> None:
    """Sends `percent` (0–100) of a service's calls to its new release.

    Raises ValueError if that is no percentage, or the edge knows of no new release of the service.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} is no share of all calls: give 0 to 100 percent")
    clusters = files.read_yaml(folder / "envoy.yaml")["static_resources"]["clusters"]
    if canary_of(service) not in {cluster["name"] for cluster in clusters}:
        raise ValueError(
            f"the edge knows of no new release of {service}: "
            f"render it with --{service.removesuffix('_svc')}-canary HOST:PORT, and start Envoy with that"
        )
    edge_routes, inner_routes = (_read(folder / name)["resources"][0] for name in _FILES)
    write_routes(folder, edge_routes, inner_routes, {**shares(folder), service: percent})


def write_routes(
    folder: Path,
    edge_routes: dict[str, Any],
    inner_routes: dict[str, Any],
    wanted: Mapping[str, int] | None = None,
) -> None:
    """Writes both route files with the shares wanted, by default those that they have now."""
    if wanted is None:
        wanted = shares(folder)
    for name, configuration in zip(_FILES, (edge_routes, inner_routes), strict=True):
        content = {"resources": [configuration]}
        for action in _actions([content]):
            _divide(action, wanted)
        files.write_yaml(folder / name, content)


def _divide(action: dict[str, Any], wanted: Mapping[str, int]) -> None:
    stable = action.get("cluster") or action["weighted_clusters"]["clusters"][0]["name"]
    percent = wanted.get(stable, 0)
    action.pop("cluster", None)
    action.pop("weighted_clusters", None)
    if percent:
        weights = ((stable, 100 - percent), (canary_of(stable), percent))
        clusters = [{"name": name, "weight": weight} for name, weight in weights]
        action["weighted_clusters"] = {"clusters": clusters}
    else:
        action["cluster"] = stable


def _actions(contents: Any) -> Iterator[dict[str, Any]]:
    for content in contents:
        for configuration in content["resources"]:
            for route in configuration["virtual_hosts"][0]["routes"]:
                if "route" in route:
                    yield route["route"]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"resources": []}
    content: dict[str, Any] = files.read_yaml(path)
    return content


def main(argv: Sequence[str] | None = None) -> int:
    """`set` changes a share, `show` prints all."""
    parser = argparse.ArgumentParser(prog="python -m edge.canary", description="New releases on trial.")
    commands = parser.add_subparsers(dest="command", required=True)
    change = commands.add_parser("set", help="send a share of a service's calls to its new release")
    show = commands.add_parser("show", help="print the shares")
    for command in (change, show):
        command.add_argument("--dir", type=Path, required=True, help="folder that edge.render wrote to")
    change.add_argument("service", help="movie_svc, rating_svc or ranking_svc")
    change.add_argument("percent", type=int, help="0 to 100; 0 ends the trial")
    given = parser.parse_args(argv)
    try:
        if given.command == "set":
            set_share(given.dir, given.service, given.percent)
        for service, percent in shares(given.dir).items():
            print(f"{service}\t{percent} %")
    except (ValueError, FileNotFoundError) as error:
        print(f"edge.canary: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
