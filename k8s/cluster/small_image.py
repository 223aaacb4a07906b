"""An image of one program that needs nothing else, written without any builder of images."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Final

_USER: Final = 65532


def write(archive: Path, reference: str, program: Path) -> Path:
    """Writes an archive, as `docker save` does, of an image that runs `program`; returns its path.

    The same program makes the same bytes.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, program.name, program.read_bytes(), mode=0o755)
    content = layer.getvalue()
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"User": f"{_USER}:{_USER}", "Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "layer.tar", content)
        _add(tar, name, config)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return archive


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    """As Go calls it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
