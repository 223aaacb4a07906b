"""A release of movie_svc with a bug: it starts, is healthy, and fails to answer any single movie.

Python runs this file as it starts, where its folder is on PYTHONPATH: `marquee canary start --code`.
"""

from typing import Any

from movie_svc.service import MovieService


async def _fails(_self: MovieService, request: Any, _context: Any) -> bytes:
    raise KeyError(f"the bug of a drill, planted on purpose: {request.name}")


MovieService.GetMovie = _fails  # type: ignore[method-assign,assignment]
