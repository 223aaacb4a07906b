"""Where feature flags come from: a file, or an Unleash server. Both hold the same.

What was read last stands while neither answers.
"""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from mesh.config import ConfigError, setting

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

# The version of Unleash's client specification that is understood here.
_SPECIFICATION: Final = "5.1.9"


@dataclass(frozen=True)
class FlagConfig:
    """Where flags are. A server goes before a file; with neither there are none."""

    file: str = setting("MARQUEE_FLAGS_FILE", "", "a file of flags, as Unleash's client API returns them")
    url: str = setting("MARQUEE_UNLEASH_URL", "", "an Unleash server, such as http://unleash:4242/api")
    token: str = setting("MARQUEE_UNLEASH_TOKEN", "", "its client token", secret=True)
    environment: str = setting(
        "MARQUEE_FLAGS_ENVIRONMENT", "default", "the environment that constraints mean"
    )
    timeout_s: float = setting(
        "MARQUEE_FLAGS_TIMEOUT_S", 3.0, "how long the server may take, in seconds", low=0.1, high=60
    )


class Source(Protocol[T_co]):
    """Reads flags, when they have changed."""

    def changed(self) -> T_co | None:
        """The flags if they are others than those given last, else None.

        Raises:
            OSError: they can't be read.
            ValueError: they are none.
        """


class NoFlags:
    """Where there are none."""

    def changed(self) -> None:
        return None


class FileFlags(Generic[T]):
    """Flags in a file; looked at each time, read when it has changed."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, int, int] | None = None

    def changed(self) -> T | None:
        found = self._path.stat()
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp == self._stamp:
            return None
        flags = self._parse(self._path.read_bytes())
        self._stamp = stamp
        return flags


class ServerFlags(Generic[T]):
    """Flags of an Unleash server; an unchanged answer costs it nothing but a comparison."""

    def __init__(self, config: FlagConfig, app_name: str, parse: Callable[[bytes], T]) -> None:
        self._url = f"{config.url.rstrip('/')}/client/features"
        self._headers = {
            "Authorization": config.token,
            "UNLEASH-APPNAME": app_name,
            "UNLEASH-INSTANCEID": app_name,
            "Unleash-Client-Spec": _SPECIFICATION,
        }
        self._timeout_s = config.timeout_s
        self._parse = parse
        self._etag = ""

    def changed(self) -> T | None:
        headers = {**self._headers, **({"If-None-Match": self._etag} if self._etag else {})}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - http(s), see `connect`
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
                flags = self._parse(answer.read())
                self._etag = answer.headers.get("ETag", "")
                return flags
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return None
            raise


def connect(config: FlagConfig, app_name: str, parse: Callable[[bytes], T]) -> Source[T]:
    """The source that is configured. `parse` reads definitions, and refuses with a ValueError what is none.

    Raises:
        ConfigError: the URL is none.
    """
    if config.url:
        if not config.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"MARQUEE_UNLEASH_URL can't be {config.url!r}: it begins with http:// or https://"
            )
        return ServerFlags(config, app_name, parse)
    return FileFlags(Path(config.file), parse) if config.file else NoFlags()
