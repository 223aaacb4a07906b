"""Where flags come from: a file, or an Unleash server. What was read last is kept while neither answers."""

import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from edge.flags import Environment, Flags
from mesh.config import ConfigError, setting

_APP_NAME: Final = "marquee-edge"


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


class FlagSource(Protocol):
    """Reads flags, when they have changed."""

    def changed(self) -> Flags | None:
        """The flags if they are others than those given last, else None.

        Raises:
            OSError: they can't be read.
            FlagError: they are none.
        """


class NoFlags:
    """Where there are none."""

    def changed(self) -> Flags | None:
        return None


class FileFlags:
    """Flags in a file; looked at each time, read when it has changed."""

    def __init__(self, path: Path, environment: Environment) -> None:
        self._path = path
        self._environment = environment
        self._stamp: tuple[int, int, int] | None = None

    def changed(self) -> Flags | None:
        found = self._path.stat()
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp == self._stamp:
            return None
        flags = Flags.parse(self._path.read_bytes(), self._environment)
        self._stamp = stamp
        return flags


class ServerFlags:
    """Flags of an Unleash server; an unchanged answer costs it nothing but a comparison."""

    def __init__(self, config: FlagConfig, environment: Environment) -> None:
        self._url = f"{config.url.rstrip('/')}/client/features"
        self._headers = {
            "Authorization": config.token,
            "UNLEASH-APPNAME": _APP_NAME,
            "UNLEASH-INSTANCEID": _APP_NAME,
            "Unleash-Client-Spec": "5.1.9",
        }
        self._timeout_s = config.timeout_s
        self._environment = environment
        self._etag = ""

    def changed(self) -> Flags | None:
        headers = {**self._headers, **({"If-None-Match": self._etag} if self._etag else {})}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - http(s), see `connect`
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
                flags = Flags.parse(answer.read(), self._environment)
                self._etag = answer.headers.get("ETag", "")
                return flags
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return None
            raise


def connect(config: FlagConfig) -> FlagSource:
    """The source that is configured.

    Raises:
        ConfigError: the URL is none.
    """
    environment = Environment(_APP_NAME, config.environment)
    if config.url:
        if not config.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"MARQUEE_UNLEASH_URL can't be {config.url!r}: it begins with http:// or https://"
            )
        return ServerFlags(config, environment)
    return FileFlags(Path(config.file), environment) if config.file else NoFlags()
