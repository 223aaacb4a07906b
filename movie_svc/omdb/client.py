"""The client of OMDb: one question, one typed outcome, within a deadline, whatever OMDb does."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
import stamina
from marquee.movies.v1 import movies_pb2

from mesh.names import imdb_id
from mesh.switches import OMDB_CALLS
from movie_svc import metrics, titles
from movie_svc.config import OmdbConfig
from movie_svc.omdb import body, parse
from movie_svc.omdb.breaker import Breaker
from movie_svc.omdb.outcome import Absent, Failed, Failure, Found, Outcome
from movie_svc.omdb.quota import Purpose, Quota

log = logging.getLogger(__name__)

MAX_PAGE: Final = 100
PAGE_SIZE: Final = 10

_LONGEST: Final = 12
_SWITCHED_OFF_S: Final = 60.0
_MAX_BODY_BYTES: Final = 1024 * 1024
_ABSENT_RE: Final = re.compile(
    r"movie not found!?|series not found!?|incorrect imdb id\.?|error getting data\.?|too many results\.?"
    r"|series or (?:season|episode) not found!?",
    re.IGNORECASE,
)
_LIMITED_RE: Final = re.compile(r"(?:daily )?request limit reached!?", re.IGNORECASE)
_BAD_KEY_RE: Final = re.compile(r"invalid api key!?|no api key provided\.?", re.IGNORECASE)
_RETRIED: Final = {Failure.DOWN, Failure.UNREACHABLE, Failure.TIMEOUT, Failure.MALFORMED}
_REFUSED: Final = {Failure.LIMITED, Failure.BAD_KEY, Failure.CAPTCHA}
_TYPES: Final[Mapping[int, str]] = {
    movies_pb2.MOVIE_TYPE_MOVIE: "movie",
    movies_pb2.MOVIE_TYPE_SERIES: "series",
    movies_pb2.MOVIE_TYPE_EPISODE: "episode",
    movies_pb2.MOVIE_TYPE_GAME: "game",
}


class _TryAgain(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


class Omdb:
    """Asks OMDb. Guards it and its callers: breaker, bulkhead, quota, deadline."""

    def __init__(self, config: OmdbConfig, quota: Quota, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._quota = quota
        self._session = session
        self.breaker = Breaker(config)
        self._bulkhead = asyncio.Semaphore(config.concurrency)

    @property
    def enabled(self) -> bool:
        return self._config.enabled

    @property
    def answers_now(self) -> bool:
        """Whether there is any use in asking: it is on, and not left alone."""
        return self.enabled and OMDB_CALLS.on and not self.breaker.is_open

    async def by_id(self, number: int, *, purpose: Purpose = Purpose.READ) -> Outcome:
        """All about one title. An answer about another is MALFORMED."""
        params = {"i": imdb_id(number)}
        if purpose is Purpose.PLOT:
            params["plot"] = "full"
        outcome = await self._ask(params, purpose)
        if isinstance(outcome, Found) and _number(outcome) != number:
            detail = f"asked for {imdb_id(number)}, OMDb answered {outcome.body.get('imdbID')!r}"
            log.warning("%s", detail)
            metrics.OMDB_CALLS.labels(purpose, "other_title").inc()
            return Failed(Failure.MALFORMED, detail, 60)
        return outcome

    async def by_title(self, title: str, year: int | None, kind: int) -> Outcome:
        """All about the title of that name, as OMDb finds it: which may be another one."""
        params = {"t": titles.display(title), **_filters(year, kind)}
        return await self._ask(params, Purpose.LOOKUP)

    async def search(self, query: str, year: int | None, kind: int, page: int) -> Outcome:
        """One page of search results: `body["Search"]`, up to 10 lines."""
        params = {"s": query, "page": str(page), **_filters(year, kind)}
        return await self._ask(params, Purpose.SEARCH)

    async def ping(self) -> str:
        """The breaker's state; raises while OMDb is not asked. For health; asks nothing itself."""
        if not self.enabled:
            return "never asked: switched off, or no key"
        if not OMDB_CALLS.on:
            return "not asked: an operator has switched it off"
        if self.breaker.is_open:
            raise ConnectionError(self.breaker.state)
        return self.breaker.state

    async def _ask(self, params: Mapping[str, str], purpose: Purpose) -> Outcome:
        if not self.enabled:
            return Failed(Failure.OFF, "OMDb is not asked here", 3600)
        if not OMDB_CALLS.on:
            return Failed(Failure.SWITCHED_OFF, "OMDb is switched off for now", _SWITCHED_OFF_S)
        outcome = await self._guarded(params, purpose)
        name = outcome.failure if isinstance(outcome, Failed) else type(outcome).__name__.lower()
        metrics.OMDB_CALLS.labels(purpose, name).inc()
        return outcome

    async def _guarded(self, params: Mapping[str, str], purpose: Purpose) -> Outcome:
        deadline = time.monotonic() + self._config.deadline_s
        try:
            async with asyncio.timeout(self._config.deadline_s):
                await self._bulkhead.acquire()
        except TimeoutError:
            return Failed(Failure.BUSY, "too many questions are under way", 1)
        try:
            return await self._attempts(params, purpose, deadline)
        finally:
            self._bulkhead.release()

    async def _attempts(self, params: Mapping[str, str], purpose: Purpose, deadline: float) -> Outcome:
        try:
            async for attempt in stamina.retry_context(
                on=_TryAgain,
                attempts=self._config.attempts,
                timeout=deadline - time.monotonic(),
                wait_initial=0.05,
                wait_max=0.5,
                wait_jitter=0.2,
            ):
                with attempt:
                    return await self._attempt(params, purpose, deadline)
        except _TryAgain as error:
            return error.failed
        raise AssertionError("retries end with an outcome or an error")

    async def _attempt(self, params: Mapping[str, str], purpose: Purpose, deadline: float) -> Outcome:
        """One call. Raises _TryAgain if another may come to something else."""
        left = deadline - time.monotonic()
        if left <= 0.01:
            return Failed(Failure.TIMEOUT, "no time was left", 1)
        if not self.breaker.admit():
            return Failed(
                Failure.BREAKER, f"OMDb is left alone: {self.breaker.reason}", self.breaker.wait_s()
            )
        refusal = await self._quota.take(purpose)
        if refusal is not None:
            self.breaker.neither()
            if refusal.day_used:
                return Failed(Failure.QUOTA, "today's calls to OMDb are used up", refusal.retry_after)
            return Failed(Failure.BUSY, "OMDb is asked too often", refusal.retry_after)
        try:
            outcome = await self._call(params, min(left, self._config.attempt_s))
        except BaseException:
            self.breaker.neither()
            raise
        return self._judge(outcome)

    def _judge(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Failed):
            self.breaker.success()
            return outcome
        log.warning("OMDb: %s: %s", outcome.failure, outcome.detail)
        if outcome.failure in _REFUSED:
            # Not a matter of seconds.
            pause = self._config.refused_pause_s
            self.breaker.trip(outcome.failure, pause, longest_s=_LONGEST * pause)
            return Failed(outcome.failure, outcome.detail, self.breaker.wait_s())
        self.breaker.failure(outcome.failure)
        if outcome.failure in _RETRIED:
            raise _TryAgain(outcome)
        return outcome

    async def _call(self, params: Mapping[str, str], timeout_s: float) -> Outcome:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                async with self._session.get(
                    self._config.url,
                    params={**params, "apikey": self._config.api_key},
                    allow_redirects=False,
                ) as response:
                    raw = await response.content.read(_MAX_BODY_BYTES + 1)
                    while not response.content.at_eof() and len(raw) <= _MAX_BODY_BYTES:
                        raw += await response.content.read(_MAX_BODY_BYTES + 1 - len(raw))
                    status = response.status
        except TimeoutError:
            return Failed(Failure.TIMEOUT, f"no answer within {timeout_s:.2f} s", 2)
        except (aiohttp.ClientError, OSError) as error:
            return Failed(Failure.UNREACHABLE, type(error).__name__, 2)
        finally:
            metrics.OMDB_SECONDS.observe(time.perf_counter() - started)
        return classify(status, raw)


def classify(status: int, raw: bytes) -> Outcome:
    """What OMDb's status and body mean. Absence is only what OMDb calls so itself, under status 200."""
    if len(raw) > _MAX_BODY_BYTES:
        return Failed(Failure.MALFORMED, f"over {_MAX_BODY_BYTES} bytes", 30)
    try:
        answer = body.read(raw)
    except body.BodyError as error:
        if status == 403:
            return Failed(Failure.CAPTCHA, "403 and no JSON", 300)
        if status != 200 or raw.lstrip()[:1] == b"<":
            return Failed(Failure.DOWN, f"{status} and no JSON", 5)
        return Failed(Failure.MALFORMED, str(error), 30)
    message = str(answer.get("Error", ""))
    if _LIMITED_RE.fullmatch(message):
        return Failed(Failure.LIMITED, message, 300)
    if _BAD_KEY_RE.fullmatch(message):
        return Failed(Failure.BAD_KEY, message, 60)
    if status != 200:
        return Failed(Failure.DOWN, f"{status}: {message}", 5)
    if str(answer.get("Response")).lower() == "true":
        return Found(answer, raw)
    if _ABSENT_RE.fullmatch(message):
        return Absent(message)
    return Failed(Failure.MALFORMED, f"an unknown refusal: {message!r}", 30)


def _filters(year: int | None, kind: int) -> dict[str, str]:
    found = {}
    if year is not None:
        found["y"] = str(year)
    if kind in _TYPES:
        found["type"] = _TYPES[kind]
    return found


def _number(outcome: Found) -> int | None:
    try:
        return parse.number_of(outcome.body)
    except parse.ParseError:
        return None
