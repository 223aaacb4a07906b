"""What operators and scrapers read of a process by HTTP: `/metrics` for Prometheus, `/health` in JSON."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import prometheus_client

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""


def start(host: str, port: int, health: Callable[[], Mapping[str, object]]) -> None:
    """Serves both in threads of their own, until the process ends.

    Raises:
        OSError: the address can't be listened on.
    """
    metrics = prometheus_client.make_wsgi_app()

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        body = json.dumps(health(), indent=2).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    httpd = make_server(host, port, app, _Server, _Quiet)
    threading.Thread(target=httpd.serve_forever, name="http page", daemon=True).start()
