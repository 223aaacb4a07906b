"""`python -m edge.drain --seconds N`: sends clients away before this edge ends, so that none loses a call.

Envoy ends at once when it is told to, with all connections that clients keep open. This comes before: with
its next answer each client hears to go on elsewhere (`connection: close`, GOAWAY), `/readyz` says 503, and
new connections are served for those who have not heard that this edge is going. A pod's preStop runs it.
"""

import argparse
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Final

_TIMEOUT_S: Final = 5.0


def drain(admin: str, seconds: float) -> bool:
    """Tells the Envoy of that admin page to send its clients away, and waits; returns whether it heard.

    It waits in any case: that this edge is going takes as long to get around.
    """
    until = time.monotonic() + seconds
    try:
        request = urllib.request.Request(f"http://{admin}/healthcheck/fail", method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - http, see above
            heard = True
    except OSError as error:
        print(f"edge.drain: Envoy's admin page at {admin} does not answer: {error}", file=sys.stderr)
        heard = False
    time.sleep(max(0.0, until - time.monotonic()))
    return heard


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edge.drain", description=__doc__.partition("\n")[0])
    parser.add_argument("--admin", default="127.0.0.1:9901", help="host:port of Envoy's admin page")
    parser.add_argument("--seconds", type=float, required=True, help="how long clients are sent away")
    given = parser.parse_args(arguments)
    return 0 if drain(given.admin, given.seconds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
