"""Filling the store from files: OMDb answers, and catalogues such as MovieLens.

In batches, thousands of titles a second; an import that was broken off goes on
where it stopped. Titles come with their events, as if OMDb had been asked.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from mesh import clock
from mesh.tables import PassedOver
from movie_svc.asking.answers import OmdbAnswers
from movie_svc.config import FreshnessConfig
from movie_svc.omdb import body
from movie_svc.storing import catalogue, records
from movie_svc.storing.records import MovieRecord
from movie_svc.storing.store import Store

_BATCH: Final = 1000
_MAX_LINE_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 1 << 16
_SHOW_S: Final = 0.2
_SHOW_PLAIN_S: Final = 5.0


@dataclass
class ImportReport:
    """What an import came to."""

    lines: int = 0
    titles: int = 0
    changed: int = 0
    refusals: int = 0
    """Lines in which OMDb says that it has no answer."""
    unparsed: dict[str, int] = field(default_factory=dict)
    """Values that could not be understood, by OMDb's field."""
    passed: PassedOver = field(default_factory=lambda: PassedOver(_tell))
    """Lines that can't be read."""
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        parts = [
            f"{self.titles:,} titles ({self.titles / max(seconds, 0.001):,.0f}/s)",
            f"{self.changed:,} changed",
        ]
        if self.refusals:
            parts.append(f"{self.refusals:,} refusals of OMDb passed over")
        if self.passed.count:
            parts.append(f"{self.passed.count:,} lines can't be read")
        if self.unparsed:
            parts.append("not understood: " + ", ".join(f"{n} {f}" for f, n in sorted(self.unparsed.items())))
        return "; ".join(parts)


class Progress:
    """How far a file is, on a terminal as a bar, elsewhere as a line now and then."""

    def __init__(self, total_bytes: int, out: TextIO = sys.stderr) -> None:
        self._total = max(1, total_bytes)
        self._out = out
        self._bar = out.isatty()
        self._next = 0.0

    def show(self, done_bytes: int, report: ImportReport, *, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not last:
            return
        self._next = now + (_SHOW_S if self._bar else _SHOW_PLAIN_S)
        share = min(1.0, done_bytes / self._total)
        if self._bar:
            bar = "█" * int(share * 30)
            self._out.write(f"\r{bar:░<30} {share:4.0%}  {report}\x1b[K" + ("\n" if last else ""))
        else:
            self._out.write(f"{share:4.0%}  {report}\n")
        self._out.flush()


class Importer:
    """Imports files into the store."""

    def __init__(self, store: Store, answers: OmdbAnswers, freshness: FreshnessConfig) -> None:
        self._store = store
        self._answers = answers
        self._freshness = freshness

    async def answers(self, path: Path, *, from_start: bool = False) -> ImportReport:
        """Imports OMDb's answers, one JSON a line: the answer itself, or `{"body": answer}`.

        They count as fetched when the file was written last.

        Raises:
            OSError: the file can't be read.
            MarqueeError: the database is away; what was imported stays, and a second run goes on there.
        """
        source, report = _source(path), ImportReport()
        progress = Progress(source.size)
        done = 0 if from_start else await self._store.imported_lines(source.name)
        saving: asyncio.Task[int] | None = None
        with path.open("rb") as file:
            for batch in _batches(file, done):
                found = []
                for line in batch:
                    report.lines += 1
                    try:
                        read = self._read(line, source.written, report)
                    except ValueError as error:
                        report.passed.add(path, done + report.lines, str(error))
                        continue
                    if read is not None:
                        found.append(read)
                # The database stores one batch while the next is read.
                if saving is not None:
                    report.changed += await saving
                saving = asyncio.create_task(self._save(source.name, found, done + report.lines))
                progress.show(file.tell(), report)
                await asyncio.sleep(0)
            if saving is not None:
                report.changed += await saving
            progress.show(file.tell(), report, last=True)
        return report

    async def catalogue(self, movies: Path, links: Path) -> ImportReport:
        """Imports MovieLens' `movies.csv` and `links.csv`; what OMDb said of a title stays as it is.

        Raises:
            OSError: a file can't be read.
            TableError: a file lacks a column.
            MarqueeError: the database is away.
        """
        report = ImportReport()
        now = clock.utc_now()
        found = []
        numbers = catalogue.numbers(links, report.passed)
        for line, row in catalogue.rows(movies, report.passed):
            report.lines += 1
            number = numbers.get(row["movieId"])
            if number is None:
                report.passed.add(movies, line, f"movieId {row['movieId']!r} has no IMDb id in {links.name}")
                continue
            try:
                found.append(catalogue.record(number, row["title"], row["genres"], now))
            except ValueError as error:
                report.passed.add(movies, line, str(error))
        progress = Progress(len(found))
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            report.changed += await self._answers.keep_imported(batch)
            report.titles += len(batch)
            progress.show(start + len(batch), report, last=start + len(batch) == len(found))
        return report

    async def _save(self, name: str, found: list[MovieRecord], lines: int) -> int:
        changed = await self._answers.keep_imported(found)
        await self._store.note_import(name, lines)
        return changed

    def _read(self, line: bytes, fetched: datetime, report: ImportReport) -> MovieRecord | None:
        """The record of a line; None if it holds none.

        Raises:
            BodyError, ParseError: it can't be read.
        """
        if not line.strip():
            return None
        if len(line) > _MAX_LINE_BYTES:
            raise body.BodyError(f"it is longer than {_MAX_LINE_BYTES} bytes")
        answer = body.read(line)
        if isinstance(answer.get("body"), dict):
            answer = answer["body"]
        if str(answer.get("Response", "True")).lower() != "true":
            report.refusals += 1
            return None
        # A lone surrogate stays the escape that it came as.
        raw = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )
        found = records.from_answer(answer, raw, fetched, self._freshness)
        report.titles += 1
        for name in found.unparsed:
            report.unparsed[name] = report.unparsed.get(name, 0) + 1
        return found


def _tell(text: str) -> None:
    # A bar that stands there is overwritten.
    sys.stderr.write(f"\r{text}\x1b[K\n" if sys.stderr.isatty() else f"{text}\n")


def _batches(file: Iterator[bytes], skipped: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for number, line in enumerate(file):
        if number < skipped:
            continue
        batch.append(line)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class _Source:
    """A file to import."""

    name: str
    """What it is known by, so that another one of that name is not taken for it."""
    size: int
    written: datetime


def _source(path: Path) -> _Source:
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()[:16]
    written = datetime.fromtimestamp(min(stat.st_mtime, clock.now()), UTC)
    return _Source(f"{path.name} {stat.st_size} {stat.st_mtime_ns} {digest}", stat.st_size, written)
