"""The images hold the versions that were tested, and their recipe follows the rules for such."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.servers import kafka_jars

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "k8s" / "images"


def pinned(lock: Path) -> dict[str, str]:
    """Version and hashes by package."""
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)
    found = {}
    for entry in entries:
        if match := re.match(r"([\w.-]+)==(\S+)", entry):
            found[match[1]] = " ".join([match[2], *sorted(re.findall(r"sha256:\w+", entry))])
    return found


@pytest.mark.parametrize("name", ["runtime.lock", "build.lock", "edge.lock", "stores.lock"])
def test_an_image_takes_the_versions_of_the_one_lock_file(name: str) -> None:
    image, tested = pinned(IMAGES / name), pinned(ROOT / "requirements.lock")
    assert image
    assert {package: tested.get(package) for package in image} == image


def test_the_recipe_has_none_of_the_usual_faults() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), "--no-color", str(IMAGES / "Dockerfile")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_kafkas_jars_fit_into_one_folder() -> None:
    names = [f"{jar.path.name}" for jar in kafka_jars.read_lock()]
    assert len(set(names)) == len(names)


def test_every_image_can_run_where_root_may_not() -> None:
    """The recipe's last stages name a user by number, which a kubelet can check."""
    stages = re.split(r"^FROM ", (IMAGES / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    users = {stage.split()[2]: re.findall(r"^USER (.+)$", stage, re.MULTILINE) for stage in stages}
    parents = {stage.split()[2]: stage.split()[0] for stage in stages}
    for name in ("marquee", "marquee-edge", "marquee-stores"):
        user = (users[parents[name]] + users[name])[-1]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), name


def test_what_the_stores_image_copies_fetches_kafkas_jars(tmp_path: Path) -> None:
    """The recipe names single files: a module more that one of them imports must be named too."""
    recipe = (ROOT / "k8s" / "images" / "Dockerfile").read_text()
    stage = recipe[recipe.index("AS build-stores") :]
    stage = stage[: stage.index("RUN MARQUEE_CACHE")]
    for line in stage.splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and words[1].startswith(("mesh/", "local/")):
            for name in words[1:-1]:
                there = tmp_path / words[-1] / Path(name).name
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, there)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import local.servers.kafka_jars as m"
    asked = [sys.executable, "-c", f"{script}; print(m.__file__)"]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.startswith(str(tmp_path)), ran.stderr
