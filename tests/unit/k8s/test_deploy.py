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
    *" apply "*"-l marquee/step=serve"*)
        while [ "$1" != -f ]; do shift; done
        cat "$2" >>"$CALLS.serve" ;;
esac
case "$*" in
    *kustomize*)
        echo "kind: Namespace"
        for each in localhost/marquee:dev localhost/marquee-edge:dev docker.io/valkey/valkey:9.0; do
            echo "image: $each"
        done ;;
    *" diff "*) echo "what changes"; exit 1 ;;
    *"get jobs -l marquee/step=provision"*) echo job.batch/provision ;;
    *"get jobs -l marquee/step=migrate"*) echo job.batch/migrate-a; echo job.batch/migrate-b ;;
    *" $FAILS --for=condition=Complete") exec sleep 60 ;;
    *" $FAILS --for=condition=Failed") ;;
    *"--for=condition=Failed") exec sleep 60 ;;
    *"get $FAILS "*) ;;
    *"get job.batch"*) echo True ;;
    *"get deployments"*) echo deployment.apps/edge ;;
    *"get configmap operators"*) [ -n "$RELEASED" ] ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(KUBECTL)
    stand_in.chmod(0o755)
    return tmp_path / "calls"


def deploy(
    calls: Path, *words: str, fails: str = "nothing", released: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {
        **environment,
        "PATH": os.environ["PATH"],
        "KUBECTL": f"{calls.parent / 'kubectl'} --context mine",
        "CALLS": str(calls),
        "FAILS": fails,
        "RELEASED": "yes" if released else "",
    }
    return subprocess.run(
        [str(SCRIPT), "early", *words], env=variables, capture_output=True, text=True, timeout=50, check=False
    )


def steps(calls: Path) -> list[str]:
    """The selectors of what was applied, in order."""
    return [line.partition(" -l ")[2] for line in calls.read_text().splitlines() if " apply " in line]


def test_stores_come_before_roles_and_migrations_before_services(calls: Path) -> None:
    done = deploy(calls)
    assert done.returncode == 0, done.stderr
    assert steps(calls) == [
        "marquee/step=namespace",
        "marquee/step notin (namespace, once, provision, migrate, serve)",
        "marquee/step=provision",
        "marquee/step=migrate",
        "marquee/step=serve",
    ]
    assert all(line.startswith("--context mine ") for line in calls.read_text().splitlines())


def test_what_operators_change_is_made_by_the_first_release_alone(calls: Path) -> None:
    def made() -> int:
        return sum(" create -f " in line for line in calls.read_text().splitlines())

    assert deploy(calls).returncode == 0
    assert made() == 1
    assert deploy(calls, released=True).returncode == 0
    assert made() == 1


@pytest.mark.parametrize(
    ("fails", "last"), [("job.batch/provision", "provision"), ("job.batch/migrate-b", "migrate")]
)
def test_a_job_that_fails_keeps_the_new_release_away(calls: Path, fails: str, last: str) -> None:
    done = deploy(calls, fails=fails)
    assert done.returncode != 0
    assert f"{fails} has not become complete" in done.stderr
    assert steps(calls)[-1] == f"marquee/step={last}"


def test_an_overlay_that_is_not_there_is_said(calls: Path) -> None:
    done = subprocess.run([str(SCRIPT), "nowhere"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "there is no overlay nowhere" in done.stderr


def test_a_release_is_brought_by_its_version_and_without_one_what_was_built_here(calls: Path) -> None:
    def brought() -> list[str]:
        served = calls.with_name("calls.serve")
        lines = served.read_text().splitlines()
        served.unlink()
        return [line.removeprefix("image: ") for line in lines if line.startswith("image: ")]

    registry = {"MARQUEE_REGISTRY": "ghcr.io/some/body"}
    assert deploy(calls, MARQUEE_VERSION="v1.2.3", **registry).returncode == 0
    assert brought() == [
        "ghcr.io/some/body/marquee:v1.2.3",
        "ghcr.io/some/body/marquee-edge:v1.2.3",
        "docker.io/valkey/valkey:9.0",
    ]
    assert deploy(calls).returncode == 0
    assert brought()[:2] == ["localhost/marquee:dev", "localhost/marquee-edge:dev"]
    refused = deploy(calls, MARQUEE_VERSION="v1.2.3")
    assert refused.returncode != 0
    assert "MARQUEE_REGISTRY: where are the images of v1.2.3" in refused.stderr


def test_what_would_change_is_shown_and_nothing_is_changed(calls: Path) -> None:
    shown = deploy(calls, "diff")
    assert (shown.returncode, shown.stdout) == (0, "what changes\n")
    assert steps(calls) == []
    assert deploy(calls, "dif").returncode == 2
