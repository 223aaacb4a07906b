"""The contract's own guards: what `make lint` says when a change would break a client."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[2] / "protos"


def check(folder: Path, script: Path = PROTOS / "check.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False)


needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="there is no git, and so no history to compare with"
)


def git(project: Path, *args: str, given: str = "") -> str:
    """What git prints, in a repository that has nothing of this machine's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": "test@localhost"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(
        ["git", *args], cwd=project, input=given, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this contract and its guard, and a history of its own."""
    project = tmp_path / "project"
    (project / "protos").mkdir(parents=True)
    for name in ("check.py", "buf.yaml"):
        shutil.copy(PROTOS / name, project / "protos")
    shutil.copytree(PROTOS / "marquee", project / "protos/marquee")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    return project


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PROTOS / "marquee", tmp_path / "marquee")
    return tmp_path


def test_the_contract_is_clean(copy: Path) -> None:
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_git
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


@needs_git
def test_it_compares_with_the_tag(project: Path) -> None:
    git(project, "tag", "v1")
    done = check(project / "protos", project / "protos/check.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "buf breaking against v1: clean" in done.stdout
    assert git(project, "status", "--porcelain") == ""


@needs_git
def test_an_earlier_revision_writes_nothing_outside_its_folder(project: Path) -> None:
    """A tree that no clean git would make: protos/marquee/../../../escaped.proto."""
    blob = git(project, "hash-object", "-w", "--stdin", given="syntax = 'proto3';\n")
    tree = git(project, "mktree", given=f"100644 blob {blob}\tescaped.proto\n")
    for name in ("..", "..", "..", "marquee", "protos"):
        tree = git(project, "mktree", given=f"040000 tree {tree}\t{name}\n")
    git(project, "tag", "v1", git(project, "commit-tree", tree, "-m", "hostile", "-p", "HEAD"))
    git(project, "reset", "-q", "--soft", "v1")
    done = check(project / "protos", project / "protos/check.py")
    assert done.returncode == 1
    assert "v1" in done.stderr
    assert "invalid path" in done.stderr
    assert "Traceback" not in done.stderr


@needs_git
def test_an_earlier_revision_reads_nothing_through_a_link(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.proto").write_text(
        'syntax = "proto3";\npackage marquee.outside.v1;\nmessage Outside {}\n'
    )
    link = project / "protos/marquee/outside/v1/outside.proto"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside.proto")
    git(project, "add", ".")
    git(project, "commit", "-qm", "a link")
    git(project, "tag", "v1")
    link.unlink()
    done = check(project / "protos", project / "protos/check.py")
    # Read through the link, the message would be missed in the new contract: its own text is no proto.
    assert "Outside" not in done.stdout + done.stderr
    assert "outside.proto:1:1:" in done.stdout + done.stderr


def test_without_git_the_style_of_the_protos_is_still_checked(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unpacked release has no history, and a bare system no git."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "there is no earlier contract to compare with" in done.stdout


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
    # Of a copy: what is built lies beside its sources meanwhile, where other tests look.
    sources = tmp_path / "protos"
    shutil.copytree(PROTOS, sources, ignore=shutil.ignore_patterns("build", "dist", "__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, sources], check=True, capture_output=True)
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
