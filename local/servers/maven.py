"""Files from Maven Central by their coordinates, each checked by the SHA-256 that it was locked with."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.stack.layout import StackError, cache_folder

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_SYSTEM_TRUST: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def fetch(context: "MavenContext", coordinate: str, sha256: str) -> Path:
    """Downloads a file, unless it is there; returns where it is.

    Raises:
        StackError: it can't be had, or is not the one that was locked.
    """
    try:
        path: Path = dependency(context, coordinate).artifact.resolve()
    except Exception as error:  # whatever the HTTP client or the resolver raises
        raise StackError(
            f"{coordinate} can't be downloaded from Maven Central: {error}; see to the network and try again"
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        path.unlink()
        raise StackError(
            f"{coordinate} as downloaded is not the one that was locked, and was thrown away: try again"
        )
    return path


def context() -> "MavenContext":
    """What downloads."""
    from jgo.maven import MavenContext

    # Whom this machine trusts, not only whom the Python package certifi does: there may be a proxy between.
    if _SYSTEM_TRUST.exists():
        os.environ.setdefault("REQUESTS_CA_BUNDLE", str(_SYSTEM_TRUST))

    return MavenContext(repo_cache=repository(), timeout=60)


def dependency(context: "MavenContext", coordinate: str) -> Any:
    """What jgo knows of a coordinate."""
    from jgo.parse import Coordinate

    return context.create_dependency(Coordinate.parse(coordinate))


def repository() -> Path:
    """Where downloads are kept."""
    return cache_folder() / "maven"
