"""The contract's own guards: what `make lint` says when a change would break a client."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[2] / "protos"


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROTOS / "check.py", folder], capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PROTOS / "marquee", tmp_path / "marquee")
    return tmp_path


def test_the_contract_is_clean(copy: Path) -> None:
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  repeated string genres = 9 [(google.api.field_behavior) = OUTPUT_ONLY];\n", ""),
        ("optional int32 runtime_minutes = 8", "optional int64 runtime_minutes = 8"),
        ("rpc GetMovie(", "rpc FetchMovie("),
    ],
    ids=["field removed", "type changed", "RPC renamed"],
)
def test_a_change_that_breaks_clients_is_refused(copy: Path, old: str, new: str) -> None:
    proto = copy / "marquee/movies/v1/movies.proto"
    text = proto.read_text()
    assert old in text
    proto.write_text(text.replace(old, new))
    done = check(copy)
    assert done.returncode == 1
    assert "movies.proto" in done.stdout + done.stderr


def test_every_message_field_and_rpc_is_documented() -> None:
    """Comments become the API's documentation."""
    missing = []
    for proto in sorted(PROTOS.glob("marquee/**/*.proto")):
        before = ""
        for number, line in enumerate(proto.read_text().splitlines(), start=1):
            text = line.strip()
            declares = text.startswith(("message ", "enum ", "service ", "rpc ")) or (
                " = " in text
                and (text.endswith(("];", "[")) or text.endswith(";"))
                and "option" not in text[:7]
                and not text.startswith(("(", "syntax"))
            )
            if declares and not before.startswith("//"):
                missing.append(f"{proto.name}:{number} {text}")
            before = text
    assert not missing


def test_an_internal_client_can_install_the_stubs_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, PROTOS], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("marquee_protos-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for package in ("movies", "ratings", "rankings"):
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"):
            assert f"marquee/{package}/v1/{package}{suffix}" in names
    assert "marquee/descriptors.binpb" in names
    assert not [name for name in names if not name.startswith("marquee")]
    assert wheel.stat().st_size < 500_000
    # The stubs work with nothing of this project on the path.
    target = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from marquee.ratings.v1 import ratings_pb2_grpc as g;"
        "assert g.__file__.startswith(sys.argv[1]);"
        "import importlib.util as u; assert not u.find_spec('rating_svc')"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", _with_site(code), target], check=True)


def _with_site(code: str) -> str:
    """Adds the installed packages, but not the `.pth` files that lead to this checkout."""
    return f"import sys; sys.path.append({sysconfig.get_paths()['purelib']!r});" + code
