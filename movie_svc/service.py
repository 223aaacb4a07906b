"""The handlers of MovieService. They answer with ready bytes; a message is built only to cut fields out."""

from collections.abc import Iterable, Sequence
from typing import Final

from marquee.movies.v1 import movies_pb2

from mesh import clock, errors, names, pages, rules, texts
from mesh.errors import MarqueeError
from mesh.rpc import Context
from movie_svc import requests, wire
from movie_svc.asking.asker import ReadResult
from movie_svc.asking.plots import Plots
from movie_svc.finder import Finder
from movie_svc.reader import MovieReader
from movie_svc.storing.entries import Entry
from movie_svc.storing.listings import Filters, Listings

# How long a call without a deadline may wait for others, in seconds: less than mesh.rpc lets it take.
_PATIENCE_S: Final = 8.0
# Time reserved of a caller's deadline, to answer in.
_RESERVE_S: Final = 0.05
# How long others may keep an answer: a change reaches them after this at the latest.
_KEEP_S: Final = 60
_KEEP_STALE_S: Final = 5
_KEEP_LIST_S: Final = 30
# A list without results: a search finds a title that came a moment ago only some seconds later (decision 43),
# and must not go on denying it after that.
_KEEP_EMPTY_S: Final = 5


class MovieService:
    """See `marquee/movies/v1/movies.proto`."""

    def __init__(
        self,
        reader: MovieReader,
        finder: Finder,
        listings: Listings,
        plots: Plots,
        tokens: pages.PageTokens,
        *,
        grace_s: float,
    ) -> None:
        """`grace_s`: for how many seconds after OMDb was due to be asked again a title is not yet stale."""
        self._reader = reader
        self._finder = finder
        self._listings = listings
        self._plots = plots
        self._tokens = tokens
        self._grace_s = grace_s

    async def GetMovie(self, request: movies_pb2.GetMovieRequest, context: Context) -> bytes:
        number = names.movie_number(request.name)
        cut = requests.mask(request)
        entry = self._reader.peek(number)
        if entry is not None:
            answer = ReadResult(entry, "l1")
        else:
            answer = await self._reader.fetch(number, self._time_left(context))
        if answer.entry.absent:
            raise errors.not_found("MOVIE_NOT_FOUND", f"OMDb knows no {request.name}")
        data, etag = self._ready(answer.entry), answer.entry.etag
        if request.full_plot:
            data, etag = await self._plots.add(number, data, answer.entry, self._time_left(context))
        self._describe(context, answer, etag)
        return cut(data) if cut else data

    async def BatchGetMovies(self, request: movies_pb2.BatchGetMoviesRequest, context: Context) -> bytes:
        numbers = dict.fromkeys(map(names.movie_number, request.names))
        cut = requests.mask(request)
        found = await self._reader.get_many(numbers, self._time_left(context))
        entries: list[Entry] = []
        missing: list[movies_pb2.MissingMovie] = []
        for number in numbers:
            answer = found[number]
            if isinstance(answer, MarqueeError):
                missing.append(_missing(number, answer.reason))
            elif answer.entry.absent:
                missing.append(_missing(number, "MOVIE_NOT_FOUND"))
            else:
                entries.append(answer.entry)
        layers = (answer.layer for answer in found.values() if isinstance(answer, ReadResult))
        await context.send_initial_metadata(_of_list(layers))
        return wire.batch(self._all_ready(entries, cut), missing)

    async def LookupMovie(self, request: movies_pb2.LookupMovieRequest, context: Context) -> bytes:
        year = request.year if request.HasField("year") else None
        cut = requests.mask(request)
        title, kind = request.title.strip(), request.type
        answer = await self._finder.lookup(title, year, kind, self._time_left(context))
        self._describe(context, answer, answer.entry.etag)
        data = self._ready(answer.entry)
        return cut(data) if cut else data

    async def SearchMovies(self, request: movies_pb2.SearchMoviesRequest, context: Context) -> bytes:
        query, kind = request.query.strip(), request.type
        year = request.year if request.HasField("year") else None
        cut = requests.mask(request)
        size = rules.page_size(request)
        binding = ("search", texts.folded(query), year, kind)
        cursor = self._tokens.decode(request.page_token, *binding)
        results = await self._finder.search(query, year, kind, size, cursor, self._time_left(context))
        layer = "omdb" if results.asked_omdb else "postgres"
        self._describe_list(context, [layer], empty=not results.entries)
        token = self._tokens.encode(results.cursor, *binding) if results.cursor else ""
        return wire.page(self._all_ready(results.entries, cut), token)

    async def ListMovies(self, request: movies_pb2.ListMoviesRequest, context: Context) -> bytes:
        genre, kind = texts.folded(request.genre), request.type
        decade = request.decade if request.HasField("decade") else None
        year = request.year if request.HasField("year") else None
        cut = requests.mask(request)
        order, descending = requests.order(request.order_by)
        size = rules.page_size(request)
        binding = ("list", genre, decade, year, kind, order, descending)
        cursor = self._tokens.decode(request.page_token, *binding)
        first, last = _years(decade, year)
        page = await self._listings.list(Filters(genre, first, last, kind), order, descending, size, cursor)
        self._describe_list(context, ["postgres"], empty=not page.entries)
        token = self._tokens.encode(page.cursor, *binding) if page.cursor else ""
        return wire.page(self._all_ready(page.entries, cut), token)

    def _time_left(self, context: Context) -> float:
        """How long to wait for others, in seconds."""
        left = context.time_remaining()
        return _PATIENCE_S if left is None else max(0.0, left - _RESERVE_S)

    def _is_stale(self, entry: Entry) -> bool:
        """A partial record is not stale: it says by its source that it is not all."""
        return not entry.partial and entry.fresh_until + self._grace_s < clock.now()

    def _ready(self, entry: Entry) -> bytes:
        return entry.data + wire.STALE if self._is_stale(entry) else entry.data

    def _all_ready(self, entries: Iterable[Entry], cut: requests.Cut | None) -> Iterable[bytes]:
        ready = map(self._ready, entries)
        return map(cut, ready) if cut else ready

    def _describe(self, context: Context, answer: ReadResult, etag: str) -> None:
        """Says where an answer comes from and how long it may be kept (RFC 9111: `max-age` counts from when
        the source said it, as `age` does). In trailers, of which the edge makes headers (decision 107)."""
        entry = answer.entry
        now = clock.now()
        age = max(0, int(now - entry.fetched_at))
        stale = self._is_stale(entry)
        keep = _KEEP_STALE_S if entry.fresh_until < now else min(_KEEP_S, int(entry.fresh_until - now))
        context.set_trailing_metadata(
            (
                ("x-marquee-source", f"{answer.layer}; stale" if stale else answer.layer),
                ("age", str(age)),
                ("cache-control", f"public, max-age={age + keep}"),
                ("etag", f'"{etag}"'),
            )
        )

    def _describe_list(self, context: Context, layers: Iterable[str], *, empty: bool = False) -> None:
        context.set_trailing_metadata(_of_list(layers, _KEEP_EMPTY_S if empty else _KEEP_LIST_S))


def _of_list(layers: Iterable[str], keep_s: int = _KEEP_LIST_S) -> Sequence[tuple[str, str]]:
    """How long a list may be kept, and where it comes from."""
    source = ", ".join(dict.fromkeys(layers))
    age = ("cache-control", f"public, max-age={keep_s}")
    return (age, ("x-marquee-source", source)) if source else (age,)


def _missing(number: int, reason: str) -> movies_pb2.MissingMovie:
    shown = reason if reason == "MOVIE_NOT_FOUND" else "OMDB_UNAVAILABLE"
    return movies_pb2.MissingMovie(name=names.movie_name(number), reason=shown)


def _years(decade: int | None, year: int | None) -> tuple[int | None, int | None]:
    """The first and the last year that both allow."""
    first = max((y for y in (decade, year) if y is not None), default=None)
    last = min((y for y in (decade + 9 if decade is not None else None, year) if y is not None), default=None)
    return first, last
