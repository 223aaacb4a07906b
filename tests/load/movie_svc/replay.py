"""Who answers reads of MovieLens' titles, and how often OMDb is asked.

`python -m tests.load.movie_svc.replay` prints it.

Two replicas take turns, from empty stores on. Titles are read by popularity: Zipf over MovieLens' ranks (how
often a title was rated), or with --order=movielens as they were rated, one read a rating.
"""

import argparse
import asyncio
import random
from collections import Counter

from local.stack.layout import Stack
from tests.load.movie_svc.rig import forget, gets, metrics, movielens_titles, replica, run, stores

OMDB_CALLS = "marquee_omdb_calls_total"
LAYERS = ("l1", "redis", "postgres", "omdb")


def drawn(options: argparse.Namespace) -> list[str]:
    titles = movielens_titles()
    count = options.reads * options.parts
    if options.order == "movielens":
        return list(titles.reads[:count])
    weights = [1 / rank**options.zipf for rank in range(1, len(titles.names) + 1)]
    return random.Random(options.seed).choices(titles.names, weights, k=count)


async def main(stack: Stack, options: argparse.Namespace) -> None:
    reads = drawn(options)
    await forget(stack)
    settings = {"MARQUEE_MOVIE_L1_BYTES": str(options.l1_bytes)}
    async with replica(stack, **settings) as one, replica(stack, **settings) as other:
        for start in range(0, len(reads), options.reads):
            part = reads[start : start + options.reads]
            before, sources = await metrics([one, other]), Counter[str]()
            cost = await run(stack, [one, other], gets(part, len(part)), 16, sources)
            after = await metrics([one, other])
            calls = sum(after[name] - before[name] for name in after if name.startswith(OMDB_CALLS))
            shares = "  ".join(f"{layer} {sources[layer] / len(part):6.2%}" for layer in LAYERS)
            asked = f"OMDb calls per 10,000 reads: {calls / len(part) * 1e4:5.0f}"
            print(f"reads {start:6}-{start + len(part):6}: {shares}  {asked}  {cost}", flush=True)
        held = await metrics([one, other])
        print(
            f"in-process caches: {held['marquee_movie_l1_entries']:.0f} titles, "
            f"{held['marquee_movie_l1_bytes'] / 1e6:.1f} MB, "
            f"{held['marquee_movie_l1_evictions_total']:.0f} evictions; distinct titles {len(set(reads))}"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--order", choices=("zipf", "movielens"), default="zipf")
    parser.add_argument("--reads", type=int, default=10_000, help="reads a part")
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--zipf", type=float, default=1.0, help="the exponent of the popularity")
    parser.add_argument("--l1-bytes", type=int, default=64 * 1024 * 1024, help="of each replica")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    with stores() as started:
        asyncio.run(main(started, arguments()))
