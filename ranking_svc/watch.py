"""Who watches which movie. A watcher holds one flag, however many changes there are."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

from mesh.errors import exhausted
from ranking_svc import metrics


class Watch:
    """One watcher of one movie."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()


class Watchers:
    """All watchers of this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_movie: dict[int, set[Watch]] = {}
        self._count = 0
        self.closed = False

    @contextlib.contextmanager
    def watch(self, movie: int) -> Iterator[Watch]:
        """Watches a movie until the block ends.

        Raises:
            MarqueeError: RESOURCE_EXHAUSTED `TOO_MANY_WATCHERS`.
        """
        if self._count >= self._limit:
            raise exhausted(
                "TOO_MANY_WATCHERS", "too many streams watch scores here; try again", retry_after=5
            )
        watch = Watch()
        self._count += 1
        metrics.WATCHERS.set(self._count)
        self._by_movie.setdefault(movie, set()).add(watch)
        try:
            yield watch
        finally:
            self._count -= 1
            metrics.WATCHERS.set(self._count)
            others = self._by_movie[movie]
            others.discard(watch)
            if not others:
                del self._by_movie[movie]

    def notify(self, movies: Iterable[int]) -> None:
        """Wakes those who watch one of the movies."""
        for movie in movies:
            for watch in self._by_movie.get(movie, ()):
                watch.changed.set()

    def notify_all(self) -> None:
        """Wakes everybody."""
        self.notify(self._by_movie)

    def close(self) -> None:
        """Ends all streams: this process is about to stop."""
        self.closed = True
        self.notify_all()
