"""The server of the page: files, and questions to what watches the mesh, which change nothing."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy

from local.dash.alerts import Alerts, NoAlertsError
from local.dash.logs import Logs, NoIndexError
from local.dash.traces import NoSuchTraceError, NoTracesError, Traces

log = logging.getLogger(__name__)

# What Perses asks for; each is a question.
_QUESTIONS: Final = frozenset({"query", "query_range", "query_exemplars", "labels", "series", "metadata"})
_ANSWER_WITHIN_S: Final = 30.0
_LARGEST_QUESTION_BYTES: Final = 64 * 1024
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS: Final = {
    # Perses' components set styles as they go; everything comes from this address.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_SESSION: Final = web.AppKey("session", aiohttp.ClientSession)


@dataclass(frozen=True)
class Settings:
    """What the page shows, and whom it asks."""

    bundle: Path
    """The folder that `bundle.make` made."""
    dashboards: Path
    """The folder of Perses' JSON files."""
    pages: tuple[tuple[str, str], ...]
    """Names and titles, in the order in which they are offered."""
    prometheus: str
    """Its URL."""
    index: str
    """The URL of the index of logs; empty if there is none."""
    jaeger: str
    """Its URL; empty if there is none."""
    alertmanager: str
    """Its URL."""
    runbooks: Path
    """The folder of what is to be done about each alert."""
    scrape_interval: str
    """How often Prometheus looks, such as `5s`."""


class Page:
    """The page and what it asks for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logs = Logs(settings.index)
        self._traces = Traces(settings.jaeger)
        self._alerts = Alerts(settings.alertmanager, settings.runbooks)
        self._known = {name for name, _ in settings.pages}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_guarded], client_max_size=_LARGEST_QUESTION_BYTES)
        app.cleanup_ctx.append(_with_session)
        app.router.add_get("/", _to_page)
        app.router.add_get("/dash", _to_page)
        app.router.add_get("/dash/pages.json", self.pages)
        app.router.add_get("/dash/dashboards/{name}.json", self.dashboard)
        app.router.add_route("GET", "/dash/prometheus/api/v1/{question}", self.ask)
        app.router.add_route("POST", "/dash/prometheus/api/v1/{question}", self.ask)
        app.router.add_get("/dash/prometheus/api/v1/label/{label}/values", self.ask)
        app.router.add_get("/dash/alerts.json", self.alerts)
        app.router.add_get("/dash/logs.json", self.logs)
        app.router.add_get("/dash/traces.json", self.traces)
        app.router.add_get("/dash/traces/{trace}.json", self.trace)
        if (self._settings.bundle / "assets").is_dir():
            app.router.add_static("/dash/assets", self._settings.bundle / "assets")
        app.router.add_get("/dash/{rest:.*}", self.index)
        return app

    async def pages(self, _request: web.Request) -> web.Response:
        """What the page offers."""
        return web.json_response(
            {
                "pages": [{"name": name, "title": title} for name, title in self._offered()],
                "scrapeInterval": self._settings.scrape_interval,
            }
        )

    def _offered(self) -> list[tuple[str, str]]:
        traces = [("traces", "Traces")] if self._settings.jaeger else []
        logs = [("logs", "Logs")] if self._settings.index else []
        return [*self._settings.pages, ("alerts", "Alerts"), *traces, *logs]

    async def dashboard(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = self._settings.dashboards / f"{name}.json"
        if name not in self._known or not path.exists():
            raise web.HTTPNotFound(text=f"there is no dashboard {name!r}")
        return web.FileResponse(path)

    async def alerts(self, request: web.Request) -> web.Response:
        """What fires now: see `Alerts.find`."""
        return await _found(self._alerts.find(request.app[_SESSION]))

    async def logs(self, request: web.Request) -> web.Response:
        """Lines of the logs, newest first: see `Logs.find`."""
        return await _found(self._logs.find(request.app[_SESSION], request.query))

    async def traces(self, request: web.Request) -> web.Response:
        """Traces, newest first: see `Traces.find`."""
        return await _found(self._traces.find(request.app[_SESSION], request.query))

    async def trace(self, request: web.Request) -> web.Response:
        """One trace: see `Traces.one`."""
        return await _found(self._traces.one(request.app[_SESSION], request.match_info["trace"]))

    async def index(self, _request: web.Request) -> web.StreamResponse:
        """The page itself, under whatever address it gives to its parts."""
        path = self._settings.bundle / "index.html"
        if not path.exists():
            raise web.HTTPServiceUnavailable(
                text="The page could not be made when this stack was started; `marquee logs dash` says why. "
                "Metrics and alerts work without it.\n"
            )
        return web.FileResponse(path, headers={"Cache-Control": "no-cache"})

    async def ask(self, request: web.Request) -> web.Response:
        """Hands a question on to Prometheus."""
        question = request.match_info.get("question")
        if question is not None and question not in _QUESTIONS:
            raise web.HTTPForbidden(text="only questions to Prometheus are handed on")
        path = request.path.removeprefix("/dash/prometheus")
        headers = _kept(request.headers)
        try:
            async with request.app[_SESSION].request(
                request.method,
                f"{self._settings.prometheus}{path}",
                params=request.query,
                data=await request.read() if request.can_read_body else None,
                headers=headers,
            ) as answer:
                body = await answer.read()
                return web.Response(
                    body=body, status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]}
                )
        except (aiohttp.ClientError, TimeoutError, KeyError) as error:
            log.warning("Prometheus does not answer: %s", error)
            raise web.HTTPBadGateway(text="Prometheus does not answer: see `marquee status`") from None


async def _found(answer: Awaitable[dict[str, Any]]) -> web.Response:
    """What was looked for, as JSON, or what is wrong, as a sentence."""
    try:
        return web.json_response(await answer)
    except (NoAlertsError, NoIndexError, NoTracesError) as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    except NoSuchTraceError as error:
        raise web.HTTPNotFound(text=str(error)) from None
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _kept(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {name: headers[name] for name in ("Content-Type", "Accept") if name in headers}


async def _to_page(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/dash/")


async def _with_session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ANSWER_WITHIN_S)) as session:
        app[_SESSION] = session
        yield


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what a page of another origin could have its reader's browser ask."""
    host = urlsplit(f"//{request.host}").hostname
    if host not in _HOSTS or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise web.HTTPForbidden(text="this page is for the machine that it runs on")
    try:
        answer = await handler(request)
    except web.HTTPException as refused:
        refused.headers.update(_HEADERS)
        raise
    answer.headers.update(_HEADERS)
    return answer
