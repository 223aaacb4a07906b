"""The images hold the versions that were tested."""

import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", ["runtime.lock", "build.lock", "edge.lock"])
def test_an_image_takes_the_versions_of_the_one_lock_file(name: str) -> None:
    image, tested = pinned(IMAGES / name), pinned(ROOT / "requirements.lock")
    assert image
    assert {package: tested.get(package) for package in image} == image
