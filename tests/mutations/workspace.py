"""A folder for each group where mutmut keeps its mutated copy and its verdicts: `.mutations/FOLDER`.

It holds a copy of the tree, from which mutmut makes its own: what people work in is never changed. A run
that was stopped goes on where it was. A verdict stands as long as the function and those that it calls, and
that of a survivor as long as the tests.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh.services import SERVICES
from tests.mutations.plan import ROOT, Group

_SOURCES: Final = ("rating_svc", "ranking_svc", "mesh")
_OTHERS: Final = tuple(service.name for service in SERVICES if service.name not in _SOURCES)
_COPIED: Final = (*_OTHERS, "edge", "envoy", "local", "protos", "k8s")
_FOLDERS: Final = (*_SOURCES, *_COPIED, "tests")
_KILLED: Final = 1

# The last plugin collects all garbage twice in each run: more than half of a short run's time.
_OPTIONS: Final = (
    "--hypothesis-profile=mutations",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:unraisableexception",
)

# Those that unit tests need, named: to look for all and to import them takes twice as long.
_PLUGINS: Final = (
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "_hypothesis_pytestplugin",
    "tests.mutations.quickest",
)

# grpc may not be forked once it runs: mutmut's fork server imports the tests and has run none of them.
_SETTINGS: Final = """\
[mutmut]
source_paths={sources}
only_mutate={modules}
also_copy={copied}
pytest_add_cli_args_test_selection={tests}
pytest_add_cli_args={options}
do_not_mutate_patterns={patterns}
process_isolation=forkserver
on_dependency_change=rerun
use_git_change_detection=false
timeout_multiplier=5
timeout_constant={allowance_s}
"""


class Workspace:
    """One group's folder."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.path: Final = ROOT / ".mutations" / group.folder

    @property
    def mutants(self) -> Path:
        """The mutated copy, with mutmut's verdicts beside each module."""
        return self.path / "mutants"

    def prepare(self, fresh: bool) -> None:
        """Copies the tree and writes mutmut's settings; `fresh` forgets all verdicts."""
        if fresh:
            shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        # No links: whoever walks the repository and follows them would come to each folder here first.
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
            shutil.copytree(ROOT / name, self.path / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(ROOT / "pyproject.toml", self.path)
        (self.path / "setup.cfg").write_text(self._settings())
        # Helpers and fixtures may change a verdict just as a test does.
        tests = [*(ROOT / name for name in self._group.tests), *sorted(ROOT.glob("tests/support/*.py"))]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in tests)).hexdigest()
        stamp = self.path / "tests.sha256"
        if not stamp.exists() or stamp.read_text() != digest:
            self._ask_again()
        stamp.write_text(digest)

    def run(self) -> None:
        """Runs mutmut, one test process at a time. Only a failure of mutmut itself raises."""
        # Python forgets forever what stands in PYTHONPATH and is not there when it starts.
        self.mutants.mkdir(exist_ok=True)
        with (self.path / "log").open("wb") as log:
            done = subprocess.run(
                [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "1"],
                cwd=self.path,
                # Processes that tests start run the mutated code too.
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.mutants),
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    "PYTEST_PLUGINS": ",".join(_PLUGINS),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if done.returncode:
            lines = (self.path / "log").read_text(errors="replace").replace("\r", "\n").splitlines()
            raise SystemExit("\n".join([*lines[-40:], f"mutmut could not run the group {self._group.name}"]))

    def _ask_again(self) -> None:
        """The tests changed: what they did not kill is asked again."""
        (self.mutants / "mutmut-stats.json").unlink(missing_ok=True)
        for meta in self.mutants.rglob("*.meta"):
            values = json.loads(meta.read_text())
            verdicts = values["exit_code_by_key"]
            values["exit_code_by_key"] = {
                name: code if code == _KILLED else None for name, code in verdicts.items()
            }
            meta.write_text(json.dumps(values))

    def _settings(self) -> str:
        group = self._group
        return _SETTINGS.format(
            sources=_lines(_SOURCES),
            modules=_lines(group.modules),
            copied=_lines(_COPIED),
            tests=_lines(group.tests),
            options=_lines(_OPTIONS),
            patterns=_lines((r"\blog\.(debug|info|warning|error|critical)\(",)),
            allowance_s=group.allowance_s,
        )


def _lines(values: Sequence[str]) -> str:
    return "".join(f"\n    {value}" for value in values)
