"""`python -m local.omdb_simulator --address HOST:PORT [--answers FILE.jsonl]`"""

import argparse
import logging
from pathlib import Path

from aiohttp import web

from local.omdb_simulator.app import Simulator
from local.omdb_simulator.catalogue import load


def main() -> None:
    parser = argparse.ArgumentParser(prog="omdb_simulator", description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT to listen on")
    parser.add_argument(
        "--answers", type=Path, help="recorded OMDb answers, one JSON a line (default: built-in titles)"
    )
    parser.add_argument("--key", default="", help="the only API key to accept (default: any)")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    simulator = Simulator(load(options.answers), key=options.key)
    web.run_app(simulator.app(), host=host, port=int(port), access_log=None)


if __name__ == "__main__":
    main()
