"""The HTTP face: OMDb's one endpoint, and `/_simulator` to control it."""

import asyncio
import json
import random
import re
from collections import Counter
from dataclasses import asdict
from typing import Final

from aiohttp import web

from local.omdb_simulator import faults
from local.omdb_simulator.catalogue import PAGE, Catalogue, Title
from local.omdb_simulator.faults import Behaviour

_ID: Final = re.compile(r"tt\d+")
_HANG_S: Final = 3600.0


class Simulator:
    """Answers like www.omdbapi.com, as far as its behaviour has been observed."""

    def __init__(self, catalogue: Catalogue, *, key: str = "", seed: int | None = None) -> None:
        self._catalogue = catalogue
        self._key = key
        self._rng = random.Random(seed)  # noqa: S311 - decides which calls fail, not a secret
        self.behaviour = Behaviour()
        self.calls: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self.answer)
        app.router.add_get("/_simulator", self.state)
        app.router.add_post("/_simulator", self.control)
        return app

    async def state(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "behaviour": asdict(self.behaviour),
                "modes": faults.MODES,
                "titles": len(self._catalogue),
                "calls": dict(self.calls),
                "calls_total": self.calls.total(),
                "answers": dict(self.answers),
            }
        )

    async def control(self, request: web.Request) -> web.Response:
        """Changes the behaviour; `{"reset": true}` also sets the counters to 0."""
        try:
            wish = await request.json()
            if not isinstance(wish, dict):
                raise ValueError("the body must be a JSON object")
            reset = wish.pop("reset", False)
            self.behaviour = self.behaviour.changed(wish)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        if reset:
            self.calls.clear()
            self.answers.clear()
        return await self.state(request)

    async def answer(self, request: web.Request) -> web.Response:
        query = request.query
        kind = next((k for k in ("i", "t", "s") if query.get(k)), "none")
        self.calls[kind] += 1
        behaviour = self.behaviour
        mode = behaviour.mode_now(self._rng)
        if delay := behaviour.delay_s(self._rng):
            await asyncio.sleep(delay)
        if behaviour.daily_limit and self.calls.total() > behaviour.daily_limit:
            mode = "limited"
        response = await self._in_mode(mode, query)
        self.answers[str(response.status)] += 1
        return response

    async def _in_mode(self, mode: str, query: object) -> web.Response:
        params = dict(query)  # type: ignore[call-overload]
        if mode == "hanging":
            await asyncio.sleep(_HANG_S)
        if mode in faults.CLOUDFLARE:
            status, title = faults.CLOUDFLARE[mode]
            return web.Response(
                body=faults.cloudflare(status, title),
                status=status,
                content_type="text/html",
                charset="UTF-8",
            )
        if mode == "limited":
            return _json(faults.LIMITED, 401)
        given = params.get("apikey", "")
        if not given:
            return _json(faults.NO_KEY, 401)
        if mode == "invalid_key" or (self._key and given != self._key):
            return _json(faults.INVALID_KEY, 401)
        if mode == "broken_json":
            return _json(faults.CONVERSION.format(text=params.get("i", "")).encode())
        if mode == "not_found":
            return _refusal("Movie not found!")
        body = self._body(params, near=mode == "near_match")
        if mode == "truncated":
            body = body[: len(body) // 2]
        if mode == "control_characters":
            body = body.replace(b'"Plot": "', b'"Plot": "\x08\x0b\x1a\x1d\x1f\tIt\\s ', 1)
        return _json(body)

    def _body(self, params: dict[str, str], *, near: bool) -> bytes:
        kind = params.get("type", "")
        year = params.get("y", "")
        if "Season" in params or "season" in params:
            return self._season(params)
        if params.get("s"):
            return self._search(params["s"], year, kind, params.get("page", "1"))
        if params.get("t"):
            name = params["t"]
            find = (
                self._catalogue.near_match(name, year) if near else self._catalogue.by_title(name, year, kind)
            )
            return _full(find, params) if find else _error("Movie not found!")
        imdb_id = params.get("i", "")
        if not _ID.fullmatch(imdb_id):
            if imdb_id.startswith("tt") and imdb_id[2:].strip():
                return faults.CONVERSION.format(text=imdb_id[2:]).encode()
            return _error("Incorrect IMDb ID.")
        title = self._catalogue.by_id(imdb_id)
        return _full(title, params) if title else _error("Error getting data.")

    def _search(self, query: str, year: str, kind: str, page: str) -> bytes:
        if len(query.strip()) < 3:
            return _error("Too many results.")
        found = self._catalogue.search(query, year, kind)
        number = int(page) if page.isdigit() and 1 <= int(page) <= 100 else 1
        lines = [t.line() for t in found[(number - 1) * PAGE : number * PAGE]]
        if not lines:
            return _error("Movie not found!")
        result = {"Search": lines, "totalResults": str(len(found)), "Response": "True"}
        return json.dumps(result, ensure_ascii=False).encode()

    def _season(self, params: dict[str, str]) -> bytes:
        season = params.get("Season", params.get("season", ""))
        episode = params.get("Episode", params.get("episode", ""))
        series = self._catalogue.by_id(params.get("i", "")) or self._catalogue.by_title(
            params.get("t", ""), "", "series"
        )
        episodes = self._catalogue.episodes(series.imdb_id, season) if series else []
        if episode:
            match = next((e for e in episodes if e.episode == episode), None)
            return match.body if match else _error("Series or episode not found!")
        if series is None or not episodes:
            return _error("Series or season not found!")
        total = str(json.loads(series.body).get("totalSeasons", "N/A"))
        listed = [
            {
                "Title": e.name,
                "Released": "N/A",
                "Episode": e.episode,
                "imdbRating": "N/A",
                "imdbID": e.imdb_id,
            }
            for e in episodes
        ]
        result = {
            "Title": series.name,
            "Season": season,
            "totalSeasons": total,
            "Episodes": listed,
            "Response": "True",
        }
        return json.dumps(result, ensure_ascii=False).encode()


def _full(title: Title, params: dict[str, str]) -> bytes:
    if params.get("plot") != "full":
        return title.body
    body = json.loads(title.body)
    if body.get("Plot", "N/A") != "N/A":
        body["Plot"] = (
            f"{body['Plot']} Told at length: {title.name} ({title.year}), "
            f"directed by {body.get('Director')}, with {body.get('Actors')}."
        )
    return json.dumps(body, ensure_ascii=False).encode()


def _error(text: str) -> bytes:
    return json.dumps({"Response": "False", "Error": text}, separators=(",", ":")).encode()


def _refusal(text: str) -> web.Response:
    return _json(_error(text))


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")
