"""The edge's cache in C: no memory error, no race, and never another answer than the service's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge import cache_module

HOST = Path(__file__).parents[3] / "tests" / "support" / "edge" / "cache_host.c"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler on PATH")


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_random_requests_of_four_threads(tmp_path: Path, sanitizers: str) -> None:
    program = tmp_path / "cache_host"
    sources = [str(HOST), *map(str, cache_module.SOURCES.glob("*.c"))]
    flags = [
        "-std=gnu11",
        "-O1",
        "-g",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{cache_module.SOURCES}",
    ]
    build = [
        "cc",
        *flags,
        f"-fsanitize={sanitizers}",
        "-fno-sanitize-recover=all",
        "-o",
        str(program),
        *sources,
    ]
    subprocess.run(build, check=True, timeout=120)
    ran = subprocess.run(
        [str(program), "7", "20000"], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", ran.stdout)}
    assert counts["hits"] + counts["misses"] == 4 * 20000
    assert min(counts.values()) > 1000, f"too little happened to mean anything: {counts}"


def test_it_is_found_only_if_it_was_compiled_from_these_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_module.library().exists()
    changed = tmp_path / "cache"
    shutil.copytree(cache_module.SOURCES, changed)
    (changed / "store.c").write_text("// another release\n")
    monkeypatch.setattr(cache_module, "SOURCES", changed)
    with pytest.raises(FileNotFoundError, match="make install"):
        cache_module.library()


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    assert cache_module.build(["cc"], "-Werror", out=tmp_path / "cache.so").exists()
