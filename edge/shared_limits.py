"""Limits that several Envoys share: the reference rate-limit service (envoyproxy/ratelimit, Go, Redis).

`python -m edge.shared_limits` prints the service's own configuration, made from limits.yaml as Envoy's
buckets are. A bucket lets at most `burst + 60 · per_second` calls through in a minute, and that is what all
Envoys together may let through. The buckets stay in each Envoy, in front of the service: they smooth out what
a whole minute's count can't, and they are what is left while the service is away.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from edge import limits, template

DOMAIN: Final = "marquee"


def service_config(bounds: limits.Limits) -> dict[str, Any]:
    """The configuration of the service: a file in its `config` folder."""
    return {
        "domain": DOMAIN,
        "descriptors": [
            {
                "key": "tier",
                "value": tier,
                "descriptors": [
                    {
                        "key": "class",
                        "value": kind,
                        # Without a value: each client by itself.
                        "descriptors": [
                            {"key": limits.client_key(tier), "rate_limit": _in_a_minute(bucket)},
                        ],
                    }
                    for kind, bucket in buckets.items()
                ],
            }
            for tier, buckets in bounds.tiers.items()
        ],
    }


def filters(bounds: limits.Limits, address: str | None) -> list[dict[str, Any]]:
    """Envoy's filter that asks the service, if there is one."""
    if address is None:
        return []
    values = {"domain": DOMAIN, "descriptors": limits.descriptors(bounds)}
    return [template.load("shared_limits", values, part="filter")]


def clusters(address: str | None) -> list[dict[str, Any]]:
    """Where the service is, if there is one.

    Raises:
        ValueError: the address is none.
    """
    if address is None:
        return []
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"the rate-limit service's address {address!r} is not HOST:PORT")
    values = {"host": host.strip("[]"), "port": int(port)}
    return [template.load("shared_limits", values, part="cluster")]


def _in_a_minute(bucket: limits.Bucket) -> dict[str, Any]:
    return {"unit": "minute", "requests_per_unit": bucket.burst + 60 * bucket.per_second}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the service's configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m edge.shared_limits", description="Prints the configuration of envoyproxy/ratelimit."
    )
    parser.add_argument("--limits", type=Path, default=limits.DEFAULT_FILE, help="what one client may do")
    given = parser.parse_args(argv)
    try:
        bounds = limits.Limits.load(given.limits)
    except ValueError as error:
        print(f"edge.shared_limits: {error}", file=sys.stderr)
        return 1
    yaml.safe_dump(service_config(bounds), sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
