"""No write that was answered is lost and none counts twice, whatever is killed, hangs or is restarted.

And the checker itself is tested: it finds a bug that is planted in the mesh.
"""

import os
import random
from pathlib import Path

import pytest

from local.stack.layout import Shape
from tests.faults.rating_svc.checker import BUGS, INSTANCES, check, mesh, report
from tests.faults.rating_svc.plan import PARTS, draw

# A bounded time: the plan's own (five minutes), then up to two for each of mending and converging.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SEED = int(os.environ.get("MARQUEE_FAULTS_SEED") or random.randrange(10**6))
FAULTS = 60
# Where each bug shows: a worker that dies while its transaction can't end; a hand-over that is repeated.
STRUCK = {
    "offsets_before_the_transaction": ("postgres", "rating_svc-worker"),
    "no_inbox_check": ("postgres", "rating_svc-relay", "ranking_svc-consumer"),
}


def test_a_seed_repeats_its_plan() -> None:
    plan, *others = (draw(seed, FAULTS, INSTANCES[Shape.PLAIN]) for seed in (SEED, SEED, SEED + 1))
    assert plan == others[0] != others[1]
    assert {fault.part for fault in plan} == set(PARTS[Shape.PLAIN])
    assert {fault.kind for fault in plan} == {"kill", "pause", "restart"}


@pytest.mark.parametrize("shape", list(Shape))
async def test_every_answered_write_stands_once_whatever_breaks(tmp_path: Path, shape: Shape) -> None:
    with mesh(tmp_path, shape=shape) as stack:
        findings = await check(stack, SEED, draw(SEED, FAULTS, INSTANCES[shape], PARTS[shape]))
    print(report(findings))
    assert findings.broken == [], f"repeat with MARQUEE_FAULTS_SEED={SEED}"
    assert len(findings.struck) >= 50
    assert findings.journal.acknowledged > 1000


@pytest.mark.parametrize("bug", BUGS)
async def test_the_checker_finds_a_planted_bug(tmp_path: Path, bug: str) -> None:
    plan = draw(1, 24, INSTANCES[Shape.PLAIN], STRUCK[bug], gap_s=(1.0, 4.0))
    with mesh(tmp_path, plant=bug) as stack:
        findings = await check(stack, 1, plan)
    print(report(findings))
    what = "lost: " if bug == "offsets_before_the_transaction" else "the aggregate is"
    assert any(what in text for text in findings.broken)
