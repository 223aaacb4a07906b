"""What ten times more writes than the database can take do to writers, and when they are stored.

    python -m tests.load.rating_svc.burst [--pace 50] [--times 10] [--seconds 20]

The database is slowed down to a pace by a trigger that sleeps, since nothing
else here could write ten times faster than it stores. Writers come at their own
rate, however slowly they are answered. A user reads a write back all the while.
"""

import argparse
import asyncio
import json
import time

import asyncpg
import uvloop

from local.commands.edge_client import EdgeClient
from local.stack.layout import Stack
from tests.load.rating_svc.rig import MOVIES, Lag, Latencies, mesh, warm, write

_SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep((SELECT count(*) FROM come) / {pace}::float8); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON seen_requests REFERENCING NEW TABLE AS come
FOR EACH STATEMENT EXECUTE FUNCTION slow()"""


async def paced(client: EdgeClient, name: str, rate: float, seconds: float) -> Latencies:
    """Writes at a rate, whether those before have been answered or not."""
    taken, calls, began = Latencies(), set(), time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        user, movie = f"{name}-{number // 20}", MOVIES[number % len(MOVIES)]
        call = asyncio.create_task(write(client, user, movie, 1 + number % 10, taken))
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    return taken


async def read_back(client: EdgeClient, until: asyncio.Event) -> tuple[Latencies, int]:
    """One user's reads of each write right after its answer; returns how many were not what was written."""
    reads, wrong, score = Latencies(), 0, 0
    while not until.is_set():
        score = score % 10 + 1
        if await write(client, "reader", MOVIES[0], score, Latencies()):
            began = time.perf_counter()
            answer = await client.get(f"/v1/users/me/ratings/{MOVIES[0]}", "reader")
            reads.seconds.append(time.perf_counter() - began)
            wrong += answer.status != 200 or json.loads(answer.body)["score"] != score
        await asyncio.sleep(0.1)
    return reads, wrong


async def highest(lag: Lag, until: asyncio.Event) -> int:
    most = 0
    while not until.is_set():
        most = max(most, await lag.now())
        await asyncio.sleep(0.25)
    return most


async def main(arguments: argparse.Namespace, stack: Stack) -> None:
    client, lag = EdgeClient(stack, "partner"), Lag(stack)
    pace, times, seconds = arguments.pace, arguments.times, arguments.seconds
    await warm(stack, client)
    connection = await asyncpg.connect(stack.dsn("rating_svc"))
    await connection.execute(_SLOW.format(pace=pace))
    print(f"the database stores {pace}/s")
    print(f"writes at half that pace: {await paced(client, 'calm', pace / 2, seconds)}")
    while await lag.now():
        await asyncio.sleep(0.2)
    stop = asyncio.Event()
    watching = asyncio.gather(highest(lag, stop), read_back(client, stop))
    began = time.perf_counter()
    print(f"{times} times that pace:   {await paced(client, 'burst', pace * times, seconds)}")
    sent_s = time.perf_counter() - began
    stop.set()
    most, (reads, wrong) = await watching
    left = await lag.now()
    while await lag.now():
        await asyncio.sleep(0.2)
    print(f"its length {sent_s:.1f} s; highest lag {most} submissions; {left} left at its end")
    print(f"all stored {time.perf_counter() - began - sent_s:.1f} s after it")
    print(f"own writes read back meanwhile: {reads}; wrong: {wrong}")
    await connection.close()
    lag.close()
    client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=50, help="what the database stores a second")
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    with mesh() as running_mesh:
        uvloop.run(main(given, running_mesh))
