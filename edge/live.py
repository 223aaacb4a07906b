"""The route files of a running edge: written again when something goes on trial; Envoy reads them at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from edge import contract, files, pages, policies, routes, trials
from edge.contract import Method
from edge.trials import Trials

EDGE_FILE: Final = "routes.yaml"
INNER_FILE: Final = "routes-inner.yaml"
_FOLDER_FILE: Final = "runtime-folder"


class Routes:
    """The routes in one folder that `edge.render` has written or is writing.

    Envoy may find the files in another folder than the one they are written to: `runtime_folder` is
    remembered.
    """

    def __init__(
        self,
        out: Path,
        methods: Iterable[Method] | None = None,
        table: Mapping[str, Any] | None = None,
        runtime_folder: Path | None = None,
    ) -> None:
        self._out = out
        self._methods = list(methods or contract.public_methods(contract.load()))
        self._table = table or policies.load_table()
        if runtime_folder is not None:
            files.replace(out / _FOLDER_FILE, str(runtime_folder))
        self._folder = Path((out / _FOLDER_FILE).read_text())

    @property
    def services(self) -> frozenset[str]:
        """The clusters of which a new release can be on trial."""
        return frozenset(policies.clusters(self._table).values())

    @property
    def experiments(self) -> frozenset[str]:
        """The names of the experiments that the routes know of."""
        return frozenset(self._table["experiments"])

    def write(self, on_trial: Trials | None = None) -> None:
        """Writes the routes as `on_trial` wants them, by default as the record has it.

        Call it within `trials.changing` if `on_trial` is given.
        """
        wanted = trials.load(self._out) if on_trial is None else on_trial
        site = pages.load(self._out / pages.FOLDER, self._folder / pages.FOLDER)
        edge = routes.route_configuration(self._methods, self._table, site, self._folder, wanted)
        inner = routes.inner_route_configuration(self._methods, self._table)
        files.write_yaml(self._out / EDGE_FILE, {"resources": [edge]})
        files.write_yaml(self._out / INNER_FILE, {"resources": [inner]})

    def change(self, on_trial: Trials) -> None:
        """Records what is on trial, and routes by it. Call it within `trials.changing`."""
        trials.save(self._out, on_trial)
        self.write(on_trial)
