"""No token of a run stands in what the run leaves behind: logs, Kafka, PostgreSQL, Redis."""

import asyncio
import uuid
from collections.abc import Iterable

import asyncpg
import grpc
import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from marquee.movies.v1 import movies_pb2, movies_pb2_grpc
from marquee.ratings.v1 import ratings_pb2, ratings_pb2_grpc

from edge import tokens
from local.stack.layout import Stack
from local.stack.provision import REDIS_ADMIN, SUPERUSER
from mesh import redisdb
from tests.support.waiting import eventually

RATING = "/v1/users/me/ratings/tt0111161"


async def test_no_token_is_left_behind(mesh_stack: Stack) -> None:
    user, mark = f"user-{uuid.uuid4()}", str(uuid.uuid4())
    issued = {name: tokens.issue(mesh_stack.home.tokens, name) for name in (user, "by-mistake", "in-a-text")}
    expired = tokens.issue(mesh_stack.home.tokens, "late", ttl_s=-60)
    await _use_rightly(mesh_stack, issued[user], mark)
    await _use_wrongly(mesh_stack, issued["by-mistake"], issued["in-a-text"], expired)

    needles = [part for token in (*issued.values(), expired) for part in _parts(token)]
    await eventually(lambda: _logged(mesh_stack, mark), timeout=30, what="the last call in the access log")
    await eventually(lambda: _rated(mesh_stack, user), timeout=30, what="the rating in PostgreSQL")
    places = {
        "logs": _logs(mesh_stack),
        "kafka": await asyncio.to_thread(_kafka, mesh_stack),
        "postgres": await _postgres(mesh_stack),
        "redis": await _redis(mesh_stack),
    }
    # That the search finds anything at all.
    there = {"logs": mark, "kafka": user, "postgres": user, "redis": "movie:m:111161"}
    assert {place for place, text in there.items() if text.encode() in places[place]} == set(places)
    for place, text in places.items():
        assert not [needle for needle in needles if needle in text], place


def _parts(token: str) -> Iterable[bytes]:
    """The token's payload and signature, from their start and from within, as text and in hexadecimal."""
    for part in token.split(".")[1:]:
        for piece in (part[:24].encode(), part[-24:].encode()):
            yield piece
            yield piece.hex().encode()


async def _use_rightly(stack: Stack, token: str, mark: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=15) as client:
        rated = await client.put(RATING, json={"score": 9}, headers=headers)
        assert rated.status_code == 200, rated.text
        for path in (
            RATING,
            "/v1/users/me/ratings",
            "/v1/movies/tt0111161",
            "/v1/movies:search?query=matrix",
        ):
            assert (await client.get(path, headers=headers)).status_code == 200
        assert (await client.put(RATING, json={"score": 11}, headers=headers)).status_code == 400
        traced = {
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-request-id": mark,
        }
        assert (await client.get(RATING, headers={**headers, **traced})).status_code == 200
    async with grpc.aio.insecure_channel(stack.address("envoy", "edge")) as channel:
        metadata = tuple(headers.items())
        movies = movies_pb2_grpc.MovieServiceStub(channel)
        await movies.GetMovie(
            movies_pb2.GetMovieRequest(name="movies/tt0111161"), metadata=metadata, timeout=10
        )
        ratings = ratings_pb2_grpc.RatingServiceStub(channel)
        request = ratings_pb2.GetRatingRequest(name="users/me/ratings/tt0111161")
        await ratings.GetRating(request, metadata=metadata, timeout=10)


async def _use_wrongly(stack: Stack, token: str, other: str, expired: str) -> None:
    calls = [
        f"{RATING}?access_token={token}",
        f"/v1/movies/tt0111161?access_token={token}",
        f"/v1/movies:search?query={token}",
        f"/v1/movies:lookup?title={token}&year=1999",
        f"/v1/movies:search?query=ab&year={token}",
        f"/v1/movies?pageToken={token}",
        f"/v1/movies/{token}",
        f"/v1/users/{token}/ratings",
        f"/{token}",
        f"/docs?token={token}",
        f"/healthz?{token}",
        f"/v1/movies/tt0111161?{token}",
    ]
    schemes = [f"bearer {expired}", f"Basic {other}", f"Token {other}", f"Bearer {other} x", other]
    async with httpx.AsyncClient(base_url=stack.edge_url, timeout=15) as client:
        for url in calls:
            await client.get(url)
            await client.put(url, json={"score": 7, "requestId": token})
        for value in schemes:
            for path in (RATING, "/v1/movies/tt0111161"):
                refused = await client.get(path, headers={"authorization": value})
                assert refused.status_code == 401
        await client.get(
            RATING, headers={"cookie": f"token={other}", "referer": f"https://x.example/?t={other}"}
        )
        authorized = {"authorization": f"Bearer {other}"}
        for body in ({"score": 7, "requestId": other}, {"score": other}, {other: 7}):
            assert (await client.put(RATING, json=body, headers=authorized)).status_code == 400
        await client.put(RATING, content=b"x" * 1_200_000, headers=authorized)


async def _logged(stack: Stack, mark: str) -> bool:
    return mark in stack.home.log("access").read_text()


async def _rated(stack: Stack, user: str) -> bool:
    connection = await asyncpg.connect(stack.dsn(SUPERUSER))
    try:
        found = await connection.fetchval("SELECT count(*) FROM rating_svc.ratings WHERE user_id = $1", user)
        return bool(found)
    finally:
        await connection.close()


def _logs(stack: Stack) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(stack.home.logs.rglob("*")) if path.is_file())


def _kafka(stack: Stack) -> bytes:
    """All keys, values and headers of all topics."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.kafka_bootstrap,
            "group.id": "nobody",
            "enable.auto.commit": False,
            # The last offset of a topic may be a transaction's mark, which no consumer is shown.
            "enable.partition.eof": True,
        }
    )
    found = []
    try:
        for name, topic in consumer.list_topics(timeout=10).topics.items():
            for number in topic.partitions:
                consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING)])
                ended = False
                while not ended:
                    for message in consumer.consume(500, 1.0):
                        if (error := message.error()) is not None:
                            assert error.code() == KafkaError._PARTITION_EOF, error
                            ended = True
                            continue
                        headers = message.headers() or []
                        found += [message.key() or b"", message.value() or b""]
                        found += [value or b"" for _, value in headers]
    finally:
        consumer.close()
    return b"\n".join(piece if isinstance(piece, bytes) else str(piece).encode() for piece in found)


async def _postgres(stack: Stack) -> bytes:
    """All rows of all tables of the services; what is stored as bytes comes in hexadecimal."""
    connection = await asyncpg.connect(stack.dsn(SUPERUSER))
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        rows = [await connection.fetch(f"SELECT t::text FROM {table['name']} AS t") for table in tables]
        return "\n".join(row[0] for found in rows for row in found).encode()
    finally:
        await connection.close()


async def _redis(stack: Stack) -> bytes:
    """All keys and what they hold."""
    found: list[bytes] = []
    config = redisdb.RedisConfig(url=stack.redis_url(REDIS_ADMIN), timeout_s=5)
    async with redisdb.connect(config) as client:
        async for key in client.scan_iter(count=1000):
            found.append(key)
            match await client.type(key):
                case b"string":
                    found.append(await client.get(key) or b"")
                case b"hash":
                    found += [piece for pair in (await client.hgetall(key)).items() for piece in pair]
                case b"zset":
                    found += await client.zrange(key, 0, -1)
                case b"set":
                    found += list(await client.smembers(key))
                case b"list":
                    found += await client.lrange(key, 0, -1)
                case b"none":
                    pass
                case other:
                    raise AssertionError(f"the test does not know how to read {other!r}")
    return b"\n".join(found)
