"""A batch comes to the same as its submissions one by one, however the log is cut and read again."""

import uuid
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rating_svc.collapse import Identity, collapse, identity
from rating_svc.submissions import Position, Submission

Key = tuple[str, int]
LogEntry = tuple[Position, Submission]

IDS = [uuid.UUID(int=i) for i in range(12)]

submissions = st.builds(
    Submission,
    user=st.sampled_from(["ann", "bob"]),
    movie=st.sampled_from([1, 2]),
    score=st.one_of(st.none(), st.sampled_from([1, 5, 10])),
    request_id=st.sampled_from(IDS),
    submit_us=st.integers(1, 1000),
)


@st.composite
def logs(draw: st.DrawFn) -> list[LogEntry]:
    found = draw(st.lists(submissions, max_size=25))
    return [(Position(1, offset), submission) for offset, submission in enumerate(found)]


class Database:
    """The worker's transaction on dictionaries, by the rules that `rating_svc.store` has in SQL."""

    def __init__(self) -> None:
        self.rows: dict[Key, tuple[int | None, Position]] = {}
        self.seen: set[Identity] = set()
        self.events: Counter[tuple[int, int]] = Counter()
        self.event_count = 0

    def deal_with(self, batch: Sequence[LogEntry]) -> None:
        fresh = {identity(submission) for _, submission in batch} - self.seen
        self.seen |= fresh
        changes, touches = collapse(batch, fresh)
        for change in changes:
            old, at = self.rows.get((change.user, change.movie), (None, Position(0, -1)))
            if at < change.position:
                self.rows[change.user, change.movie] = (change.score, change.position)
                if old != change.score:
                    self.event(change.movie, old, change.score)
        for touch in touches:
            key = (touch.user, touch.movie)
            if key in self.rows and self.rows[key][1] < touch.position:
                self.rows[key] = (self.rows[key][0], touch.position)

    def event(self, movie: int, old: int | None, new: int | None) -> None:
        """What an aggregate of (movie, score) counts comes to."""
        self.event_count += 1
        if old is not None:
            self.events[movie, old] -= 1
        if new is not None:
            self.events[movie, new] += 1

    def scores(self) -> dict[Key, int]:
        return {key: score for key, (score, _) in self.rows.items() if score is not None}

    def recount(self) -> Counter[tuple[int, int]]:
        return Counter((movie, score) for (_, movie), score in self.scores().items())


def last_wins(log: Sequence[LogEntry]) -> dict[Key, int]:
    """The specification: of each rating's submissions, without repeats, the last counts."""
    last: dict[Key, int | None] = {}
    seen = set()
    for _, submission in log:
        if identity(submission) not in seen:
            seen.add(identity(submission))
            last[submission.user, submission.movie] = submission.score
    return {key: score for key, score in last.items() if score is not None}


@given(logs(), st.data())
def test_however_the_log_is_cut_and_redelivered_the_last_submission_counts_once(
    log: list[LogEntry], data: st.DataObject
) -> None:
    database = Database()
    done = 0
    while done < len(log):
        # A crash before the offsets were committed: from somewhere that was dealt with already.
        start = data.draw(st.integers(0, done), "start")
        end = data.draw(st.integers(start + 1, len(log)), "end")
        database.deal_with(log[start:end])
        done = max(done, end) if start <= done else done
    assert database.scores() == last_wins(log)
    assert +database.events == database.recount()


@given(logs(), st.data())
def test_a_replay_changes_nothing_even_after_the_request_ids_are_forgotten(
    log: list[LogEntry], data: st.DataObject
) -> None:
    database = Database()
    database.deal_with(log)
    before, events = database.scores(), database.event_count
    database.seen.clear()
    start = data.draw(st.integers(0, len(log)), "start")
    while start < len(log):
        end = data.draw(st.integers(start + 1, len(log)), "end")
        database.deal_with(log[start:end])
        start = end
    assert database.scores() == before
    assert database.event_count == events


@given(logs())
def test_a_batch_touches_each_rating_at_most_once_for_its_score(log: list[LogEntry]) -> None:
    changes, _ = collapse(log, {identity(submission) for _, submission in log})
    keys = [(change.user, change.movie) for change in changes]
    assert len(keys) == len(set(keys))


def submission(score: int | None, request: int, at: int = 1) -> Submission:
    return Submission("ann", 1, score, IDS[request], at)


def test_a_redriven_dead_letter_comes_late_and_keeps_its_old_place() -> None:
    newer, older = submission(9, 1), submission(2, 2)
    batch = [(Position(1, 20), newer), (Position(1, 10), older)]
    changes, _ = collapse(batch, {identity(newer), identity(older)})
    assert [(change.score, change.position.offset) for change in changes] == [(9, 20)]


def test_an_epoch_outweighs_any_offset() -> None:
    old, new = submission(2, 1), submission(9, 2)
    changes, _ = collapse(
        [(Position(1, 1_000_000), old), (Position(2, 0), new)], {identity(old), identity(new)}
    )
    assert [change.score for change in changes] == [9]


def test_one_request_id_with_two_scores_is_two_submissions() -> None:
    first, second = submission(3, 1), submission(4, 1)
    changes, touches = collapse(
        [(Position(1, 0), first), (Position(1, 1), second)], {identity(first), identity(second)}
    )
    assert [change.score for change in changes] == [4]
    assert not touches


def test_the_first_score_of_a_rating_says_when_it_was_created() -> None:
    entries = [submission(None, 1, at=10), submission(7, 2, at=20), submission(8, 3, at=30)]
    batch = [(Position(1, i), entry) for i, entry in enumerate(entries)]
    (change,), _ = collapse(batch, {identity(entry) for entry in entries})
    assert (change.first_us, change.submit_us) == (20, 30)
