"""Who did what to this stack by the `marquee` command: a log of its own, which `marquee logs audit` shows."""

import contextlib
import datetime
import getpass
import json
import os
from collections.abc import Iterator, Sequence
from typing import Final

from local.stack.layout import Home, default_home

LOG: Final = "audit"

# What only looks is not noted. Of groups, their words that change something.
_CHANGING: Final = {
    "up": (),
    "down": (),
    "restart": (),
    "demo": (),
    "load": (),
    "log-level": (),
    "certificates": ("--rotate",),
    "verify": ("--repair",),
    "token": (),
    "canary": ("start", "stop", "set", "auto", "clear"),
    "dlq": ("redrive", "discard"),
    "drill": (),
    "movies": ("import", "import-catalogue"),
    "ratings": ("grow", "reshard"),
}
_VARIABLE: Final = "--env"
LOOKING: Final = frozenset({"status", "dash", "doctor", "logs", "top", "env", "edge"})


def changes(words: Sequence[str]) -> bool:
    """Whether a command line changes something."""
    if not words or words[0] not in _CHANGING or "--help" in words:
        return False
    if words[0] == "drill":
        return len(words) > 1  # alone, it lists them
    needed = _CHANGING[words[0]]
    return not needed or any(word in needed for word in words[1:])


@contextlib.contextmanager
def noted(words: Sequence[str]) -> Iterator[None]:
    """Notes what a command line does, and whether it went well."""
    if not changes(words):
        yield
        return
    try:
        yield
    except SystemExit as ended:
        note(default_home(), words, "failure" if ended.code else "success")
        raise
    except BaseException:
        note(default_home(), words, "failure")
        raise
    note(default_home(), words, "success")


def told(words: Sequence[str]) -> list[str]:
    """A command line as it may be kept: of variables that are given to a process, the names alone.

    Their values may be passwords.
    """
    kept, follows = [], False
    for word in words:
        if follows:
            kept.append(_name(word))
        elif word.startswith(f"{_VARIABLE}="):
            kept.append(f"{_VARIABLE}={_name(word.removeprefix(f'{_VARIABLE}='))}")
        else:
            kept.append(word)
        follows = word == _VARIABLE
    return kept


def _name(pair: str) -> str:
    """Of NAME=VALUE; nothing where somebody has left the name out."""
    name, sign, _ = pair.partition("=")
    return name if sign else "…"


def note(home: Home, words: Sequence[str], outcome: str) -> None:
    """Writes one line, in the Elastic Common Schema, unless there is no stack's folder (any more)."""
    if not home.logs.is_dir():
        return
    words = told(words)
    line = {
        "@timestamp": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "log.level": "info",
        "message": f"marquee {' '.join(words)}: {outcome}",
        "ecs.version": "8.11.0",
        "service": {"name": "marquee"},
        "event": {
            "kind": "event",
            "category": ["configuration"],
            "action": words[0],
            "outcome": outcome,
            "dataset": "marquee.audit",
        },
        "user": {"name": _user()},
        "process": {"pid": os.getpid(), "args": list(words)},
    }
    with home.log(LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # no such user on this machine, as in a container
        return str(os.getuid())
