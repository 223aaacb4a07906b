"""One instance of the three services as a process of its own, for tests that kill it; prints its port."""

import asyncio
import sys

from tests.support.edge.mesh import Instance


async def main() -> None:
    instance = await Instance().start(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(instance.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
