"""What a newer release says more of pending writes is passed over (docs/decisions/0052)."""

import time
import uuid

from local.servers.services import stores
from local.stack.layout import Stack
from mesh import redisdb
from mesh.pipe import Pipe
from mesh.redisdb import RedisConfig
from rating_svc.cache import PendingWrite, PendingWrites
from rating_svc.config import PendingConfig
from rating_svc.submissions import Position

MORE = b":77"


async def test_a_pending_write_of_a_newer_release_is_read_as_far_as_it_is_known(stack: Stack) -> None:
    user, request_id = f"user-{uuid.uuid4()}", uuid.uuid4()
    redis = redisdb.connect(RedisConfig(url=stores(stack, "rating_svc")["MARQUEE_REDIS_URL"], timeout_s=5))
    try:
        write = PendingWrite(1, 8, Position(1, 5), time.time_ns() // 1000, request_id)
        assert await PendingWrites(Pipe(redis, 0.5), PendingConfig()).put(user, [write]) == [write]
        written, named = f"rating:pending:{{{user}}}", f"rating:request:{{{user}}}:{request_id}"
        await redis.hset(written, "1", (await redis.hget(written, "1")) + MORE)
        await redis.set(named, (await redis.get(named)) + MORE)

        # As another replica: what one remembers by itself must not help.
        other = PendingWrites(Pipe(redis, 0.5), PendingConfig())
        assert await other.get(user, 1) == (write, True)
        assert await other.all(user) == ({1: write}, True)
        assert await other.requested(user, [request_id]) == {request_id: (1, 8)}
        again = PendingWrite(1, 8, Position(1, 9), write.submit_us + 1, request_id)
        assert await other.put(user, [again]) == [write], "a repeat is known as one"
        await other.clear(user, {1: write.position})
        assert await other.get(user, 1) == (None, True)
    finally:
        await redis.aclose()
