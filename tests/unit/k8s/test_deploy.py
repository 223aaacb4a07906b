"""`k8s/deploy.sh` brings a release in order, and stops where a job fails. kubectl is a stand-in here."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "k8s" / "deploy.sh"

# Says that everything is there, except the job that FAILS.
KUBECTL = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
    *kustomize*) echo "kind: Namespace" ;;
    *"get jobs -l marquee/step=provision"*) echo job.batch/provision ;;
    *"get jobs -l marquee/step=migrate"*) echo job.batch/migrate-a; echo job.batch/migrate-b ;;
    *" $FAILS --for=condition=Complete") exec sleep 60 ;;
    *" $FAILS --for=condition=Failed") ;;
    *"--for=condition=Failed") exec sleep 60 ;;
    *"get $FAILS "*) ;;
    *"get job.batch"*) echo True ;;
    *"get deployments"*) echo deployment.apps/edge ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(KUBECTL)
    stand_in.chmod(0o755)
    return tmp_path / "calls"


def deploy(calls: Path, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECTL": f"{calls.parent / 'kubectl'} --context mine",
        "CALLS": str(calls),
        "FAILS": fails,
    }
    return subprocess.run(
        [str(SCRIPT), "early"], env=environment, capture_output=True, text=True, timeout=50, check=False
    )


def steps(calls: Path) -> list[str]:
    """The selectors of what was applied, in order."""
    return [line.partition(" -l ")[2] for line in calls.read_text().splitlines() if " apply " in line]


def test_stores_come_before_roles_and_migrations_before_services(calls: Path) -> None:
    done = deploy(calls)
    assert done.returncode == 0, done.stderr
    assert steps(calls) == [
        "marquee/step=namespace",
        "marquee/step notin (namespace, provision, migrate, serve)",
        "marquee/step=provision",
        "marquee/step=migrate",
        "marquee/step=serve",
    ]
    assert all(line.startswith("--context mine ") for line in calls.read_text().splitlines())


@pytest.mark.parametrize(
    ("fails", "last"), [("job.batch/provision", "provision"), ("job.batch/migrate-b", "migrate")]
)
def test_a_job_that_fails_keeps_the_new_release_away(calls: Path, fails: str, last: str) -> None:
    done = deploy(calls, fails)
    assert done.returncode != 0
    assert f"{fails} has not become complete" in done.stderr
    assert steps(calls)[-1] == f"marquee/step={last}"


def test_an_overlay_that_is_not_there_is_said(calls: Path) -> None:
    done = subprocess.run([str(SCRIPT), "nowhere"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "there is no overlay nowhere" in done.stderr
