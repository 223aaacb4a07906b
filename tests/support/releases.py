"""The release after this one, as a copy of the checkout, and a place where one of the two is installed.

It changes one of each kind that a release may change beside its predecessor (docs/decisions/0052): columns of
every table, a table, an index, fields of events and of answers, and what a pending write looks like.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.checkout import ROOT, Checkout

NEW: Final = "new"
"""What the next release writes into the column and the fields `next_release`."""

_SERVICES: Final = ("movie_svc", "rating_svc", "ranking_svc")
# All tables at once, while both releases use them: each has to wait for the other somewhere.
_EXPAND: Final = """
CREATE TABLE next_release (only_row boolean PRIMARY KEY);
DO $$
DECLARE
    one text;
BEGIN
    FOR one IN SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        ORDER BY relname
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN next_release text', one);
    END LOOP;
END $$;
"""
_INDEX: Final = """-- marquee: no transaction
DROP INDEX CONCURRENTLY IF EXISTS by_next_release;
CREATE INDEX CONCURRENTLY by_next_release ON next_release (next_release);
"""
_MESSAGES: Final = {
    "ratings/v1/events.proto": ("RatingSubmitted", "RatingChanged"),
    "ratings/v1/ratings.proto": ("Rating",),
    "movies/v1/movies.proto": ("Movie",),
}
_REQUEST: Final = "user_id, request_id, movie_id, score"
_CHANGES: Final = (
    (
        "rating_svc/submissions.py",
        "        submit_time=clock.timestamp(submission.submit_us),\n",
        f"        submit_time=clock.timestamp(submission.submit_us),\n        next_release={NEW!r},\n",
    ),
    (
        "rating_svc/changes.py",
        "        submit_time=clock.timestamp(submit_us),\n",
        f"        submit_time=clock.timestamp(submit_us),\n        next_release={NEW!r},\n",
    ),
    (
        "rating_svc/resources.py",
        "    return pb.Rating(\n",
        f"    return pb.Rating(\n        next_release={NEW!r},\n",
    ),
    ("rating_svc/cache.py", ':{write.submit_us}"', ':{write.submit_us}:1"'),
    ("rating_svc/store.py", f"AS r ({_REQUEST})\n", f"AS r ({_REQUEST}, next_release)\n"),
    ("rating_svc/store.py", f"SELECT {_REQUEST} FROM given\n", f"SELECT {_REQUEST}, '{NEW}' FROM given\n"),
    (
        "movie_svc/storing/records.py",
        "    movie.source = source\n",
        f"    movie.source = source\n    movie.next_release = {NEW!r}\n",
    ),
)


def next_release(folder: Path) -> Checkout:
    """Makes it in `folder`; takes some seconds."""
    made = Checkout.at(folder)
    for service in _SERVICES:
        migrations = folder / service / "migrations"
        number = len(list(migrations.glob("*.sql")))
        (migrations / f"{number + 1:04d}_next_release.sql").write_text(_EXPAND)
        (migrations / f"{number + 2:04d}_next_release_by_index.sql").write_text(_INDEX)
    for file, messages in _MESSAGES.items():
        for message in messages:
            begin = f"message {message} {{\n"
            _change(folder / "protos" / "marquee" / file, begin, f"{begin}  string next_release = 900;\n")
    for file, old, new in _CHANGES:
        _change(folder / file, old, new)
    made.make_stubs()
    return made


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times, not once: {old}"
    path.write_text(text.replace(old, new))


@dataclass(frozen=True)
class Installed:
    """Where processes find their code: what starts from now on runs the release that was brought last."""

    link: Path
    environment: dict[str, str] = field(init=False)
    """That of a stack whose processes look there."""

    def __post_init__(self) -> None:
        path = os.pathsep.join([str(self.link), str(self.link / "stubs")])
        object.__setattr__(self, "environment", {"PYTHONPATH": path})
        self.bring(ROOT)

    def bring(self, code: Path) -> None:
        """Puts a checkout in the place of the one before."""
        new = self.link.with_suffix(".new")
        new.symlink_to(code)
        new.replace(self.link)
