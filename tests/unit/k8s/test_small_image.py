"""An image that is written here holds its program, and is the same each time."""

import hashlib
import json
import tarfile
from pathlib import Path

from k8s.cluster import small_image


def test_an_archive_is_what_docker_save_writes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and so on")
    archive = small_image.write(tmp_path / "image.tar", "localhost/program:1", program)

    with tarfile.open(archive) as tar:
        [manifest] = json.load(tar.extractfile("manifest.json"))
        config = json.load(tar.extractfile(manifest["Config"]))
        [layer] = manifest["Layers"]
        content = tar.extractfile(layer).read()
        with tarfile.open(fileobj=tar.extractfile(layer)) as files:
            entry = files.getmember("program")
            assert files.extractfile(entry).read() == program.read_bytes()
            assert entry.mode == 0o755
    assert manifest["RepoTags"] == ["localhost/program:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content).hexdigest()}"]
    assert config["config"]["Entrypoint"] == ["/program"]
    assert not config["config"]["User"].startswith("0")


def test_the_same_program_makes_the_same_bytes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"one")
    first = small_image.write(tmp_path / "a.tar", "localhost/program:1", program).read_bytes()
    assert small_image.write(tmp_path / "b.tar", "localhost/program:1", program).read_bytes() == first
    program.write_bytes(b"two")
    assert small_image.write(tmp_path / "c.tar", "localhost/program:1", program).read_bytes() != first
