"""A batch comes to the same as its submissions one by one, however the log is cut and read again."""

import copy
import uuid
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rating_svc.collapse import Arrival, Identity, arrival, collapse, identities, identity
from rating_svc.submissions import Position, Submission

Key = tuple[str, int]
Event = tuple[int, int | None, int | None]
"""Movie, old and new score."""

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
def logs(draw: st.DrawFn) -> list[Arrival]:
    """What was submitted; some of it are dead letters that came late and keep their old places."""
    found = draw(st.lists(submissions, max_size=25))
    late = draw(st.lists(st.integers(0, 30), min_size=len(found), max_size=len(found)))
    return [
        arrival(Position(1, 2 * offset - (5 if back == 7 else 0)), offset + 1, submission)
        for offset, (submission, back) in enumerate(zip(found, late, strict=True), start=5)
    ]


class Database:
    """The worker's transaction on dictionaries, by the rules that `rating_svc.store` has in SQL."""

    def __init__(self) -> None:
        self.rows: dict[Key, tuple[int | None, Position]] = {}
        self.seen: set[Identity] = set()
        self.events: dict[int, Event] = {}

    def deal_with(self, batch: Sequence[Arrival]) -> None:
        given = set(identities(batch))
        known = given & self.seen
        self.seen |= given
        for step in collapse(batch, known):
            old, at = self.rows.get((step.user, step.movie), (None, Position(0, -1)))
            if at < step.position:
                self.rows[step.user, step.movie] = (step.score, step.position)
                if old != step.score:
                    assert step.event_id not in self.events
                    self.events[step.event_id] = (step.movie, old, step.score)

    def scores(self) -> dict[Key, int]:
        return {key: score for key, (score, _) in self.rows.items() if score is not None}

    def recount(self) -> Counter[tuple[int, int]]:
        return Counter((movie, score) for (_, movie), score in self.scores().items())


def counted(events: dict[int, Event]) -> Counter[tuple[int, int]]:
    """What a reader of the events counts."""
    counts: Counter[tuple[int, int]] = Counter()
    for movie, old, new in events.values():
        if old is not None:
            counts[movie, old] -= 1
        if new is not None:
            counts[movie, new] += 1
    return +counts


def one_by_one(log: Sequence[Arrival]) -> Database:
    """The specification: each by itself, in the order of reading."""
    database = Database()
    for each in log:
        database.deal_with([each])
    return database


def last_wins(log: Sequence[Arrival]) -> dict[Key, int]:
    """Of each rating's submissions, without repeats, the last counts."""
    last: dict[Key, tuple[Position, int | None]] = {}
    seen = set()
    for position, _, submission, *_ in log:
        if identity(submission) not in seen:
            seen.add(identity(submission))
            key = (submission.user, submission.movie)
            last[key] = max(last.get(key, (Position(0, -1), None)), (position, submission.score), key=_place)
    return {key: score for key, (_, score) in last.items() if score is not None}


def _place(entry: tuple[Position, int | None]) -> Position:
    return entry[0]


@given(logs(), st.data())
def test_however_the_log_is_cut_and_redelivered_the_last_submission_counts_once(
    log: list[Arrival], data: st.DataObject
) -> None:
    database = Database()
    done = 0
    while done < len(log):
        # Read again from somewhere that was processed already.
        start = data.draw(st.integers(0, done), "start")
        end = data.draw(st.integers(start + 1, len(log)), "end")
        database.deal_with(log[start:end])
        done = max(done, end) if start <= done else done
    assert database.scores() == last_wins(log)
    assert database.events == one_by_one(log).events
    assert counted(database.events) == database.recount()


@given(logs(), st.data())
def test_a_store_that_is_set_back_makes_the_same_events_again(
    log: list[Arrival], data: st.DataObject
) -> None:
    """A reader that counts each id once has then counted right, also what the store forgot."""
    database = Database()
    cut = data.draw(st.integers(0, len(log)), "what the backup holds")
    database.deal_with(log[:cut])
    backup = copy.deepcopy(database)
    end = data.draw(st.integers(cut, len(log)), "where it was lost")
    database.deal_with(log[cut:end])
    published = dict(database.events)
    while cut < len(log):
        middle = data.draw(st.integers(cut + 1, len(log)), "another batch")
        backup.deal_with(log[cut:middle])
        cut = middle
    assert published.items() <= backup.events.items()
    assert counted(backup.events) == backup.recount()


@given(logs())
def test_each_rating_becomes_its_last_step(log: list[Arrival]) -> None:
    steps = collapse(log, set())
    last = [(step.user, step.movie) for step in steps if step.last]
    assert len(last) == len(set(last))
    assert {(s.user, s.movie): s.score for s in steps if s.last and s.score is not None} == last_wins(log)


def submission(score: int | None, request: int, at: int = 1) -> Submission:
    return Submission("ann", 1, score, IDS[request], at)


def log_of(*found: Submission, epoch: int = 1) -> list[Arrival]:
    return [arrival(Position(epoch, at), at + 1, one) for at, one in enumerate(found)]


def test_what_took_effect_before_takes_none_again() -> None:
    first, second = submission(3, 1), submission(8, 2)
    assert collapse(log_of(first, second, first), {identity(first)}) == collapse(
        log_of(first, second)[1:], set()
    )


def test_each_change_in_a_batch_is_a_step_of_its_own() -> None:
    steps = collapse(log_of(submission(3, 1), submission(8, 2), submission(None, 3)), set())
    assert [(step.score, step.event_id, step.last) for step in steps] == [
        (3, 1, False),
        (8, 2, False),
        (None, 3, True),
    ]


def test_a_redriven_dead_letter_comes_late_and_keeps_its_old_place() -> None:
    newer, older = submission(9, 1), submission(2, 2)
    (step,) = collapse([arrival(Position(1, 20), 21, newer), arrival(Position(1, 10), 31, older)], set())
    assert (step.score, step.position.offset) == (9, 20)


def test_an_epoch_outweighs_any_offset() -> None:
    old, new = submission(2, 1), submission(9, 2)
    steps = collapse([arrival(Position(2, 0), 1, new), arrival(Position(1, 1_000_000), 2, old)], set())
    assert [step.score for step in steps] == [9]


def test_one_request_id_with_two_scores_is_two_submissions() -> None:
    first, second = submission(3, 1), submission(4, 1)
    assert [step.score for step in collapse(log_of(first, second), set())] == [3, 4]


def test_one_request_id_for_the_lowest_score_and_for_none_is_two_submissions() -> None:
    lowest, none = submission(1, 1), submission(None, 1)
    assert [step.score for step in collapse(log_of(lowest, none), set())] == [1, None]


def test_the_first_score_of_a_rating_says_when_it_was_created() -> None:
    found = [submission(None, 1, at=10), submission(7, 2, at=20), submission(8, 3, at=30)]
    *before, last = collapse(log_of(*found), set())
    assert (last.first_us, last.submit_us) == (20, 30)
    assert [step.first_us for step in before] == [None, None]


def test_each_step_belongs_to_the_trace_of_its_own_submission() -> None:
    traced = arrival(Position(1, 1), 1, submission(3, 1), "00-one")
    untraced = arrival(Position(1, 2), 2, submission(4, 2))
    assert [step.trace for step in collapse([traced, untraced], set())] == ["00-one", ""]
