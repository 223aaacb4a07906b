"""What the caches hold: a movie's ready bytes with their times, and how Redis keeps that."""

import struct
from dataclasses import dataclass
from typing import Final

from marquee.movies.v1 import movies_pb2

from movie_svc.storing.records import AHEAD, ETAG_CHARS, MovieRecord, ahead

_FORMAT: Final = 2
_HEAD: Final = struct.Struct(f"<BBddd{ETAG_CHARS}s")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one number: a movie's ready bytes, or that there is none (`data` is empty)."""

    data: bytes
    etag: str
    source: int
    fetched_at: float
    """Seconds since 1970."""
    fresh_until: float
    """Seconds since 1970."""

    @property
    def absent(self) -> bool:
        return not self.data

    @property
    def partial(self) -> bool:
        """Whether OMDb knows more than this."""
        return self.source != movies_pb2.SOURCE_OMDB

    def is_due(self, now: float) -> bool:
        """Whether its source is to be asked again; now and then somewhat before it is not fresh any more."""
        return not self.absent and self.fresh_until < now + ahead(self.fresh_until - self.fetched_at)

    def nears_its_end(self, now: float) -> bool:
        """Whether it may be asked for again: `is_due` has most probably said so at some time."""
        return self.fresh_until < now + 5 * AHEAD * (self.fresh_until - self.fetched_at)

    def packed(self, kept_until: float) -> bytes:
        """What is stored in Redis, until then (in seconds since 1970)."""
        times = (self.fetched_at, self.fresh_until, kept_until)
        return _HEAD.pack(_FORMAT, self.source, *times, self.etag.encode()) + self.data


def of_record(record: MovieRecord) -> Entry:
    return Entry(
        record.data,
        record.etag,
        record.source,
        record.fetch_time.timestamp(),
        record.fresh_until.timestamp(),
    )


def unpacked(raw: bytes) -> tuple[Entry, float] | None:
    """The entry of packed bytes, and until when it is kept; None if another release packed them."""
    if len(raw) < _HEAD.size or raw[0] != _FORMAT:
        return None
    _, source, fetched_at, fresh_until, kept_until, etag = _HEAD.unpack_from(raw)
    return Entry(raw[_HEAD.size :], etag.rstrip(b"\0").decode(), source, fetched_at, fresh_until), kept_until
