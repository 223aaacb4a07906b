"""What is downloaded once a user: by one process, while others that want the same wait for it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from local.stack.layout import cache_folder


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Waits until no other process is in such a block of this name; look inside what is missing yet."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
