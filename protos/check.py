"""Lints the protos and refuses changes that break a client.

`buf breaking` compares with the last tag, or else with main, or, on main itself,
with the first contract that it held: several commits may arrive at once, and the
last one alone would hide what the others broke. A break that is meant is tagged
first. Where there is no earlier contract, that is said.

    python protos/check.py [FOLDER]     FOLDER holds marquee/**/*.proto; this one, if not given
"""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import google.api.http_pb2

HERE = Path(__file__).resolve().parent
GOOGLE = Path(google.api.http_pb2.__file__).parents[1]
BUF = Path(sys.executable).with_name("buf")


def workspace(folder: Path, sources: Path) -> Path:
    """Lays out our protos and Google's as one buf workspace."""
    shutil.copytree(sources / "marquee", folder / "ours" / "marquee")
    for part in ("api", "rpc", "type"):
        for proto in sorted((GOOGLE / part).glob("*.proto")):
            target = folder / "google" / "google" / part / proto.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(proto, target)
    shutil.copy(HERE / "buf.yaml", folder)
    return folder


def git(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", HERE.parent, *args], capture_output=True, check=False)


def baseline() -> str | None:
    """The revision whose clients must go on working."""
    tag = git("describe", "--tags", "--abbrev=0").stdout.decode().strip()
    head = git("rev-parse", "HEAD").stdout
    for revision in (tag, "origin/main", "main"):
        known = git("cat-file", "-e", f"{revision}:protos/marquee").returncode == 0
        if known and (revision == tag or git("rev-parse", revision).stdout != head):
            return revision
    first = git("log", "--reverse", "--format=%h", "--", "protos/marquee").stdout.decode().split()
    return first[0] if first and not head.decode().startswith(first[0]) else None


def main(sources: Path) -> int:
    """Checks a folder of protos; 0 if all is well."""
    with tempfile.TemporaryDirectory() as temporary:
        now = workspace(Path(temporary) / "now", sources)
        if subprocess.run([BUF, "lint", now], check=False).returncode:
            return 1
        print("buf lint: clean")
        revision = baseline()
        if revision is None:
            print("buf breaking: there is no earlier contract to compare with")
            return 0
        before = Path(temporary) / "before"
        archive = git("archive", revision, "protos/marquee")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(before, filter="data")
        against = workspace(Path(temporary) / "against", before / "protos")
        broken = subprocess.run([BUF, "breaking", now, "--against", against], check=False).returncode
        print(f"buf breaking against {revision}: {'BROKEN' if broken else 'clean'}")
        return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
