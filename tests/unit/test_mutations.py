"""The lists of `make test-mutations` follow the code, and its names of survivors follow nothing else."""

import pytest

from tests.mutations import plan, planted
from tests.mutations.judged import Judgement, judgements, stale, unjudged
from tests.mutations.outcome import Mutant, Verdict


@pytest.mark.parametrize("change", planted.planted([]), ids=lambda change: change.name)
def test_a_planted_change_changes_its_file_and_its_tests_are_there(change: planted.Planted) -> None:
    text = (plan.ROOT / change.file).read_text()
    assert planted.changed(change, text) != text
    for test in change.tests:
        path, _, name = test.partition("::")
        assert f"def {name}" in (plan.ROOT / path).read_text()


def test_each_judgement_is_of_a_line_that_is_still_there() -> None:
    for entry in judgements():
        text = (plan.ROOT / entry.module).read_text()
        assert f"def {entry.function.rpartition('.')[2]}(" in text, entry
        for line in entry.old:
            assert line in text, entry


def test_a_module_that_no_group_has_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"rating_svc/nothing\.py"):
        plan.chosen(["rating_svc/nothing.py"])


def test_a_choice_of_modules_has_verdicts_of_its_own() -> None:
    (whole,) = [group for group in plan.chosen([]) if group.name == "units"]
    (some,) = [group for group in plan.chosen(["rating_svc/merge.py"]) if group.name == "units"]
    assert some.modules == ("rating_svc/merge.py",)
    assert some.tests == whole.tests
    assert some.folder != whole.folder


def mutant(new: str, verdict: Verdict = Verdict.SURVIVED) -> Mutant:
    return Mutant("rating_svc/merge.py", "page", ("a < b",), (new,), verdict)


def test_a_survivor_needs_a_judgement_of_its_own_or_of_its_function() -> None:
    judged = Judgement("rating_svc/merge.py", "page", ("a < b",), (("a <= b",),), "equal ones are never met")
    survivors = [mutant("a <= b"), mutant("a > b"), mutant("b", Verdict.KILLED)]
    assert unjudged(survivors, [judged]) == [mutant("a > b")]
    of_all = Judgement("rating_svc/merge.py", "page", (), (), "integration tests have it")
    assert unjudged(survivors, [of_all]) == []


def test_a_judgement_of_what_is_killed_by_now_is_to_be_removed() -> None:
    judged = Judgement("rating_svc/merge.py", "page", ("a < b",), (("a <= b",),), "equal ones are never met")
    elsewhere = Judgement("rating_svc/collapse.py", "collapse", ("a",), (("b",),), "was not run")
    assert stale([mutant("a <= b", Verdict.KILLED)], [judged, elsewhere]) == [judged]
    assert stale([mutant("a <= b")], [judged]) == []
