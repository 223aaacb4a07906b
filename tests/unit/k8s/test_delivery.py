"""What the workflows run is what anybody runs here, and nobody can change it behind our back."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict]:
    return [step for job in yaml.safe_load(workflow.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_an_action_is_named_by_its_commit_with_the_version_beside_it(workflow: Path) -> None:
    used = [line for line in workflow.read_text().splitlines() if re.search(r"\buses:", line)]
    assert used
    assert [line for line in used if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_says(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    # What somebody else wrote (a title, a branch's name) must never become a part of a script.
    assert [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")] == []


def test_changes_and_releases_pass_the_same_checks_as_here() -> None:
    assert "make ci" in (ROOT / ".ci" / "run").read_text()
    for name in ("ci", "release"):
        commands = [step.get("run") for step in steps(ROOT / ".github" / "workflows" / f"{name}.yml")]
        assert ".ci/run" in commands


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_and_script_that_a_workflow_runs_is_there(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(workflow):
        run = step.get("run", "")
        for words in re.findall(r"^\s*make ([a-z0-9 -]+)$", run, re.MULTILINE):
            assert set(words.split()) <= targets
        for script in re.findall(r"(?<![\w/$])((?:k8s|scripts|\.ci)/[\w/.-]+)(?=[ \n]|$)", run):
            assert (ROOT / script).exists() or "$" in script, script


def test_newer_versions_are_proposed_for_each_module_of_go() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    [go] = [each for each in updates if each["package-ecosystem"] == "gomod"]
    places = ("k8s/tools/**/go.mod", "scripts/*/go.mod", "docs/examples/*/go.mod")
    modules = {file.parent for place in places for file in ROOT.glob(place)}
    assert {ROOT / each.lstrip("/") for each in go["directories"]} == modules
