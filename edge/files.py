"""Files that a running Envoy reads."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """Reads YAML, with libyaml: route files are long, and Python's own parser takes seconds for them."""
    return yaml.load(path.read_text(), yaml.CSafeLoader)


def write_yaml(path: Path, content: Any) -> None:
    """Writes YAML as `replace` does."""
    replace(path, yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=110))


def replace(path: Path, text: str) -> None:
    """Writes a whole file and moves it into place: the only change that Envoy's file watch sees.

    A file that would stay the same is left alone.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes) -> None:
    """The same for what is no text. A process that has the old file mapped keeps it."""
    if path.exists() and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.rename(path)


def ensure_secret(path: Path) -> None:
    """Makes a file of 32 random letters and digits that only its owner reads, unless it is there."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(16))


class _Dumper(yaml.CSafeDumper):
    """Writes everything out: a file full of aliases is hard to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
