"""`make test-mutations`: changes the code line by line and asks whether a test notices.

Exit code 1 if a mutant survived that `survivors.toml` does not judge, or if a planted change passed.
"""

import argparse
import sys

from tests.mutations import planted, report
from tests.mutations.judged import judgements, unjudged
from tests.mutations.outcome import Mutant, outcomes
from tests.mutations.plan import chosen
from tests.mutations.workspace import Workspace


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutations", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", help="paths like rating_svc/merge.py; all of the plan's default groups without"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the verdicts of earlier runs")
    parser.add_argument("--report", action="store_true", help="only report what has been found so far")
    parser.add_argument("--only", choices=["mutants", "planted"], help="leave the other kind out")
    arguments = parser.parse_args()
    passed = [] if arguments.report or arguments.only == "mutants" else planted.passed(arguments.modules)
    mutants: list[Mutant] = []
    if arguments.only != "planted":
        for group in chosen(arguments.modules):
            if not arguments.report:
                workspace = Workspace(group)
                workspace.prepare(arguments.fresh)
                workspace.run()
            mutants += outcomes(group)
    entries = judgements()
    if mutants:
        print(report.survivors(mutants, entries), report.table(mutants), sep="\n\n")
    for name in passed:
        print(f"a planted change passed the tests that must notice it: {name}")
    return 1 if passed or unjudged(mutants, entries) else 0


if __name__ == "__main__":
    sys.exit(main())
