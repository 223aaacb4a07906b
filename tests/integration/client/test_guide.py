"""The examples in docs/client.md, each run as a program before a real Envoy."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from marquee.rankings.v1 import rankings_pb2

from tests.support.edge.mesh import Edge, fail, not_found

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "client.md"
EXAMPLES = dict(
    re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", GUIDE.read_text(), re.M | re.S)
)
PRINTED = {
    "A first call": "The Shawshank Redemption 1994\n3 votes\n",
    "Ratings, and the tokens that they need": "MOVIE_NOT_FOUND\n",
    "Lists": "1 The Shawshank Redemption 8.9\n",
    "Streams, and asyncio": "1 []\n2 []\n",
    "What goes wrong": "MOVIE_NOT_FOUND\n",
}


def test_every_example_is_run() -> None:
    assert set(EXAMPLES) == set(PRINTED)


@pytest.mark.parametrize("title", PRINTED)
async def test_an_example_does_what_it_says(edge: Edge, title: str) -> None:
    async def missing(request: Any, context: Any) -> Any:
        await fail(context, not_found(request.name))

    async def chart(_request: Any, _context: Any) -> Any:
        line = rankings_pb2.ChartEntry(rank=1, title="The Shawshank Redemption", weighted=8.9)
        return rankings_pb2.ListTopRatedResponse(entries=[line])

    edge.service.handlers["ListTopRated"] = chart
    edge.service.handlers["GetRating"] = missing
    if title == "What goes wrong":
        edge.service.handlers["GetMovie"] = missing
    program = EXAMPLES[title].replace("127.0.0.1:8080", edge.url.removeprefix("http://"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={**os.environ, "MARQUEE_TOKEN": edge.token("alice")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.decode().endswith(PRINTED[title])
