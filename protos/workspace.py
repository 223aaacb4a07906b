"""Writes the contract, with Google's protos that it imports, as a buf workspace.

For those who generate code in other languages: see docs/other-languages.md.

    python protos/workspace.py OUT     protoc can read it too: -I OUT/ours -I OUT/google
"""

import shutil
import sys
from pathlib import Path

from check import HERE, workspace


def main(words: list[str]) -> int:
    """Writes it; returns the exit code."""
    if len(words) != 1:
        print("name one folder to write to: python protos/workspace.py OUT", file=sys.stderr)
        return 2
    out = Path(words[0])
    if out.exists() and not (out / "buf.yaml").exists() and any(out.iterdir()):
        print(f"{out} holds something else: name another folder", file=sys.stderr)
        return 2
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    workspace(out, HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
