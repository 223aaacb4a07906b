"""Builds the stubs when the wheel is built, so that no generated code is ever committed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc_tools
from google.api import http_pb2
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc over `marquee/**/*.proto` and puts what it makes into the wheel.

    Beside the stubs the wheel holds `marquee/descriptors.binpb`, a
    FileDescriptorSet with imports and comments: Envoy's transcoder and the API's
    documentation are made from it.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        self._out = tempfile.TemporaryDirectory()
        out = Path(self._out.name)
        root = Path(self.root)
        sources = sorted(str(path.relative_to(root)) for path in root.glob("marquee/**/*.proto"))
        google = Path(http_pb2.__file__).parents[2]
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        (out / "marquee").mkdir()
        # protoc finds its plug-ins on PATH; those of this interpreter must win.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc"),
                *(f"-I{root}", f"-I{google}", f"-I{well_known}"),
                *(f"--python_out={out}", f"--grpc_python_out={out}"),
                *(f"--mypy_out={out}", f"--mypy_grpc_out={out}"),
                *("--include_imports", "--include_source_info"),
                f"--descriptor_set_out={out / 'marquee' / 'descriptors.binpb'}",
                *sources,
            ],
            check=True,
            cwd=root,
            env={**os.environ, "PATH": path},
        )
        # A process of its own: the stubs that it reads are not those that may be installed here.
        subprocess.run([sys.executable, root / "rules_check.py", out], check=True)
        (out / "marquee" / "py.typed").touch()
        for file in sorted(out.rglob("*")):
            if file.is_file():
                build_data["force_include"][str(file)] = str(file.relative_to(out))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.target_name == "wheel":
            self._out.cleanup()
