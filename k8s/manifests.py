"""The overlays as the objects that they make: `render("early")`. kubectl is among the development tools."""

import functools
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

Object: TypeAlias = dict[str, Any]

OVERLAYS: Final = ("early", "growth", "scale-up")
_FOLDER: Final = Path(__file__).parent / "overlays"
_TIMEOUT_S: Final = 60.0
_TEMPLATES: Final = {"Deployment", "StatefulSet", "Job", "DaemonSet"}


def kubectl() -> Path:
    """Where kubectl is."""
    return Path(sysconfig.get_path("scripts")) / "kubectl"


@functools.cache
def text(overlay: str) -> str:
    """An overlay as YAML.

    Raises:
        RuntimeError: kubectl can't make it; with its own words.
    """
    command = [str(kubectl()), "kustomize", "--load-restrictor=LoadRestrictionsNone", str(_FOLDER / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"overlay {overlay}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def render(overlay: str) -> tuple[Object, ...]:
    """All objects of an overlay. Not to be changed: copies are for that."""
    return tuple(yaml.load_all(text(overlay), yaml.CSafeLoader))


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[Object, Object]]:
    """Each workload, and the specification of its pods."""
    for each in objects:
        if each["kind"] in _TEMPLATES:
            yield each, each["spec"]["template"]["spec"]


def labels_of_pods(objects: tuple[Object, ...]) -> Iterator[dict[str, str]]:
    """The labels of all pods, also of those that operators make."""
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] in _TEMPLATES or each["kind"] == "Pooler":
            yield spec["template"]["metadata"]["labels"]
        elif each["kind"] == "Cluster":
            yield spec["inheritedMetadata"]["labels"]
        elif each["kind"] == "Kafka":
            for part in ("kafka", "entityOperator"):
                yield spec[part]["template"]["pod"]["metadata"]["labels"]


def is_built_in(each: Object) -> bool:
    """Whether Kubernetes itself knows its kind; else an operator brings it."""
    group = each["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and not group.startswith("gateway."))


def name(each: Object) -> str:
    """Of an object, for people: `Deployment/movie-svc`."""
    return f"{each['kind']}/{each['metadata']['name']}"
