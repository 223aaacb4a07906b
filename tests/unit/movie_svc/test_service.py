"""How long others may keep a list: one without results not past the moment when a new title is found."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from marquee.movies.v1 import movies_pb2

from mesh.pages import PageTokens
from movie_svc.finder import Results
from movie_svc.service import MovieService
from movie_svc.storing.entries import Entry
from movie_svc.storing.listings import Page

NAMED = movies_pb2.Movie(name="movies/tt0111161")
TITLE = Entry(NAMED.SerializeToString(), "etag", movies_pb2.SOURCE_OMDB, 0.0, 2**40)


async def kept(method: str, request: Any, entries: list[Entry]) -> str:
    """The `cache-control` of an answer with these entries."""
    finder: Any = SimpleNamespace(search=AsyncMock(return_value=Results(entries, None, asked_omdb=True)))
    listings: Any = SimpleNamespace(list=AsyncMock(return_value=Page(entries, [], None)))
    nothing: Any = None
    service = MovieService(nothing, finder, listings, nothing, PageTokens("key"), grace_s=0)
    context = SimpleNamespace(time_remaining=lambda: None, set_trailing_metadata=Mock())
    await getattr(service, method)(request, context)
    return dict(context.set_trailing_metadata.call_args.args[0])["cache-control"]


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("SearchMovies", movies_pb2.SearchMoviesRequest(query="shawshnk")),
        ("ListMovies", movies_pb2.ListMoviesRequest(genre="Drama")),
    ],
)
async def test_a_list_without_results_is_kept_for_seconds_only(method: str, request_of: Any) -> None:
    assert await kept(method, request_of, []) == "public, max-age=5"
    assert await kept(method, request_of, [TITLE]) == "public, max-age=30"
