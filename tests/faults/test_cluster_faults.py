"""The cluster under load: each kind of part is lost for good and frozen, and no acknowledged rating is lost.

What breaks at random, also several at once, is in `test_ratings_faults`, on this shape too.
"""

from pathlib import Path

import pytest

from local.stack.layout import Shape
from tests.faults.cluster_losses import LOSSES, markdown, run
from tests.faults.ratings_checker import mesh

# Each loss with its mending takes 20 to 60 s.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(2400)]


async def test_no_loss_of_one_part_costs_a_rating_or_the_reads(tmp_path: Path) -> None:
    with mesh(tmp_path, shape=Shape.CLUSTER) as stack:
        outcome = await run(stack, LOSSES)
    print(markdown(outcome))
    assert outcome.broken == []
    assert outcome.acknowledged > 1000
    for cost in outcome.costs:
        # Reads and writes come back while the part is still away: longer would mean that they wait for it.
        assert cost.pauses["reads"] < cost.loss.seconds, cost
        assert cost.pauses["writes"] < cost.loss.seconds, cost
