"""The times of docs/operations/disaster-recovery.md are those that the losses of a running mesh took."""

import math
import re

from local.stack.layout import checkout

OPERATIONS = checkout() / "docs" / "operations"


def test_the_time_to_recover_is_the_longest_pause_that_was_measured() -> None:
    rows = re.findall(
        r"^\| [\w() .:-]+ \| ([\d.]+) s \| ([\d.]+) s \| ([\d.]+) s \| ",
        (OPERATIONS / "cluster.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 20
    reads, writes, storing = (math.ceil(max(map(float, column))) for column in zip(*rows, strict=True))
    stated = f"reads {reads} s, writes {writes} s, storing {storing} s"
    assert stated in (OPERATIONS / "disaster-recovery.md").read_text(), f"state: {stated}"
