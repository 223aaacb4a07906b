"""Lints the protos and refuses changes that break a client.

`buf breaking` compares with the last tag, or else with main, or, on main itself,
with the first contract that it held: several commits may arrive at once, and the
last one alone would hide what the others broke. A break that is meant is tagged
first. Where there is no earlier contract, that is said.

    python protos/check.py [FOLDER]     FOLDER holds marquee/**/*.proto; this one, if not given
"""

import os
import shutil
import subprocess
import sys
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


def git(*args: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    words = ["git", "-C", HERE.parent, *args]
    return subprocess.run(words, capture_output=True, check=False, env={**os.environ, **environment})


def earlier(revision: str, folder: Path) -> Path:
    """Writes the contract of a revision below the folder, with git, which keeps every path inside it.

    Links come as plain files, so that no name leads out of the folder later either.

    Raises:
        SystemExit: git refuses, such as a path that leads out of the folder; says so.
    """
    folder.mkdir()
    root = git("rev-parse", "--absolute-git-dir").stdout.decode().rstrip("\n")
    words = [f"--git-dir={root}", f"--work-tree={folder}", "-c", "core.symlinks=false"]
    done = git(*words, "checkout", revision, "--", ":/protos/marquee", GIT_INDEX_FILE=f"{folder}.index")
    if done.returncode:
        raise SystemExit(f"buf breaking: git can't write the contract of {revision}: {done.stderr.decode()}")
    return folder / "protos"


def baseline() -> str | None:
    """The revision whose clients must go on working; None if there is none, or no history here."""
    if shutil.which("git") is None:
        return None
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
        before = earlier(revision, Path(temporary) / "before")
        against = workspace(Path(temporary) / "against", before)
        broken = subprocess.run([BUF, "breaking", now, "--against", against], check=False).returncode
        print(f"buf breaking against {revision}: {'BROKEN' if broken else 'clean'}")
        return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
