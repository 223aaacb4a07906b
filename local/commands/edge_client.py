"""A client of the edge for many users at once: tokens, kept-alive connections, polite retries."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Sequence
from typing import Final

from edge import tokens
from local.commands.http1 import Client, Response
from local.commands.movielens import Rating
from local.stack.layout import Stack, StackError
from mesh.backoff import Backoff

# Too many calls, or the queue is away: the API says to come back. No answer in time: it may have been taken
# nevertheless, but the request id makes sure that it counts once.
_AGAIN: Final = (429, 503, 504)
_AGAIN_REASONS: Final = ("OVERLOADED", "QUEUE_UNAVAILABLE")
_GIVE_UP_AFTER_S: Final = 60.0
_TOKEN_TTL_S: Final = 6 * 3600


class EdgeClient:
    """Calls the API over HTTP/JSON as whichever user is asked for."""

    def __init__(self, stack: Stack, tier: str) -> None:
        self._folder = stack.home.tokens
        self._tier = tier
        self._client = Client(stack.host("envoy"), stack.port("envoy", "edge"))
        self._headers: dict[str, str] = {}
        self.retries = 0

    def close(self) -> None:
        self._client.close()

    async def get(self, path: str, user: str, headers: str = "") -> Response:
        """A GET, with more headers, whole lines each.

        Raises:
            ConnectionError, TimeoutError: no whole answer came.
        """
        return await self._client.request("GET", path, self._as(user) + headers)

    async def put_rating(self, user: str, movie: str, score: int) -> Response:
        """One PUT, as it comes.

        Raises:
            ConnectionError, TimeoutError: no whole answer came.
        """
        return await self.put(f"/v1/users/me/ratings/{movie}", user, b'{"score":%d}' % score)

    async def put(self, path: str, user: str, body: bytes) -> Response:
        """A PUT, as it comes.

        Raises:
            ConnectionError, TimeoutError: no whole answer came.
        """
        return await self._client.request("PUT", path, self._as(user), body)

    async def post(self, path: str, user: str, body: bytes) -> Response:
        """One POST, as it comes.

        Raises:
            ConnectionError, TimeoutError: no whole answer came.
        """
        return await self._client.request("POST", path, self._as(user), body)

    async def rate(self, rating: Rating) -> None:
        """Gives a rating, again and again with one request id until it is taken.

        Raises:
            StackError: it was refused, or a minute's tries failed.
        """
        body = b'{"score":%d,"requestId":"%s"}' % (rating.score, _request_id().encode())
        await self._until_taken("PUT", f"/v1/users/me/ratings/{rating.movie}", body, rating.user)

    async def rate_batch(self, user: str, ratings: Sequence[Rating]) -> None:
        """Gives up to 500 ratings of one user in one call, and those that were not taken again.

        Raises:
            StackError: one was refused, or a minute's tries failed.
        """
        requests = [
            {"name": f"users/me/ratings/{r.movie}", "score": r.score, "requestId": _request_id()}
            for r in ratings
        ]
        deadline = time.monotonic() + _GIVE_UP_AFTER_S
        while requests:
            body = json.dumps({"requests": requests}).encode()
            answer = await self._until_taken("POST", "/v1/users/me/ratings:batchRate", body, user)
            left = []
            for request, result in zip(requests, json.loads(answer)["results"], strict=True):
                reason = result.get("reason", "")
                if reason in _AGAIN_REASONS and time.monotonic() < deadline:
                    left.append(request)
                elif reason:
                    raise StackError(f"{request['name']} of {user} was refused: {reason}")
            if left:
                self.retries += 1
                await asyncio.sleep(1)
            requests = left

    async def _until_taken(self, method: str, path: str, body: bytes, user: str) -> bytes:
        deadline = time.monotonic() + _GIVE_UP_AFTER_S
        backoff = Backoff(0.1, 5)
        while True:
            try:
                answer = await self._client.request(method, path, self._as(user), body)
                if answer.status == 200:
                    return answer.body
                wrong = f"{answer.status} {answer.body.decode(errors='replace')[:300]}"
                if answer.status not in _AGAIN:
                    raise StackError(f"{method} {path} as {user} was refused: {wrong}")
                wait = _retry_after(answer) or backoff.pause_s()
            except (ConnectionError, TimeoutError) as error:
                # It may have been accepted nevertheless: the request id makes sure that it counts once.
                wrong, wait = f"{type(error).__name__}: {error}", backoff.pause_s()
            if time.monotonic() + wait > deadline:
                raise StackError(f"{method} {path} as {user} failed for a minute: {wrong}")
            self.retries += 1
            await asyncio.sleep(wait * random.uniform(1, 1.2))  # noqa: S311 - jitter

    def _as(self, user: str) -> str:
        """The headers of a user's requests."""
        headers = self._headers.get(user)
        if headers is None:
            token = tokens.issue(self._folder, user, (), _TOKEN_TTL_S, self._tier)
            headers = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            self._headers[user] = headers
        return headers


def _request_id() -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _retry_after(answer: Response) -> float:
    """Seconds to wait, from Retry-After or the rate limiter's reset; 0 if neither is there."""
    for name in (b"retry-after", b"ratelimit-reset"):
        text = answer.header(name)
        if text.isdigit() and int(text):
            return float(text)
    return 0.0
