"""`python -m local.dash --address HOST:PORT --prometheus URL …`"""

import argparse
import json
import logging
from pathlib import Path

from aiohttp import web

from local.dash.app import Page, Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="dash", description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT to listen on")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the page")
    parser.add_argument("--dashboards", type=Path, required=True, help="folder of Perses' JSON files")
    parser.add_argument("--prometheus", required=True, help="URL of Prometheus")
    parser.add_argument("--index", default="", help="URL of the index of logs; none without it")
    parser.add_argument("--jaeger", default="", help="URL of Jaeger's API; none without it")
    parser.add_argument("--alertmanager", required=True, help="URL of Alertmanager")
    parser.add_argument("--runbooks", type=Path, required=True, help="folder of the alerts' runbooks")
    parser.add_argument("--scrape-interval", default="5s", help="how often Prometheus looks")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(
        bundle=given.bundle,
        dashboards=given.dashboards,
        pages=_titles(given.dashboards),
        prometheus=given.prometheus,
        index=given.index,
        jaeger=given.jaeger,
        alertmanager=given.alertmanager,
        runbooks=given.runbooks,
        scrape_interval=given.scrape_interval,
    )
    host, _, port = given.address.rpartition(":")
    web.run_app(Page(settings).app(), host=host, port=int(port), access_log=None, print=None)


def _titles(folder: Path) -> tuple[tuple[str, str], ...]:
    """The dashboards' names and titles, in the order of `index.json`."""
    names = json.loads((folder / "index.json").read_text())
    return tuple((name, _title(folder / f"{name}.json")) for name in names)


def _title(path: Path) -> str:
    return str(json.loads(path.read_text())["spec"]["display"]["name"])


if __name__ == "__main__":
    main()
