"""What a container is given, as the kubelet makes it out of the manifests: variables, arguments and files.

The rules are Kubernetes' own: later entries win, `$(NAME)` stands for a variable defined before it, `$$` for
a dollar sign, and what is not known stays as it is.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from k8s.manifests import Object

_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class MissingError(LookupError):
    """A container refers to what is not there; the pod would not start."""


class Given:
    """The ConfigMaps and Secrets of a namespace."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._data: dict[tuple[str, str], dict[str, str]] = {}
        for each in objects:
            if each["kind"] == "ConfigMap":
                data = dict(each.get("data", {}))
            elif each["kind"] == "Secret":
                data = {key: base64.b64decode(value).decode() for key, value in each["data"].items()}
            else:
                continue
            self._data[each["kind"], each["metadata"]["name"]] = data

    def keys(self, kind: str, name: str, *, optional: bool = False) -> Mapping[str, str]:
        """The content of one.

        Raises:
            MissingError: there is none, and it is not optional.
        """
        if (kind, name) not in self._data and not optional:
            raise MissingError(f"there is no {kind} {name}")
        return self._data.get((kind, name), {})

    def value(self, kind: str, selector: Mapping[str, str | bool]) -> str | None:
        """One key of one; None if it is optional and missing."""
        optional = bool(selector.get("optional"))
        found = self.keys(kind, str(selector["name"]), optional=optional).get(str(selector["key"]))
        if found is None and not optional:
            raise MissingError(f"{kind} {selector['name']} has no key {selector['key']}")
        return found

    def environment(self, container: Object) -> dict[str, str]:
        """The variables of a container.

        Raises:
            MissingError: it refers to what is not there.
        """
        made: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if given := source.get(reference):
                    made |= self.keys(kind, given["name"], optional=given.get("optional", False))
        defined: dict[str, str] = {}
        for entry in container.get("env", ()):
            source = entry.get("valueFrom", {})
            value: str | None
            if "secretKeyRef" in source:
                value = self.value("Secret", source["secretKeyRef"])
            elif "configMapKeyRef" in source:
                value = self.value("ConfigMap", source["configMapKeyRef"])
            elif "fieldRef" in source:
                value = source["fieldRef"]["fieldPath"]
            else:
                value = _expanded(entry.get("value", ""), defined)
            if value is not None:
                defined[entry["name"]] = value
        return made | defined

    def arguments(self, container: Object) -> list[str]:
        """Its command and its arguments, with variables in place."""
        variables = self.environment(container)
        words = [*container.get("command", ()), *container.get("args", ())]
        return [_expanded(word, variables) for word in words]

    def write_files(self, pod: Object, container: Object, root: Path) -> None:
        """Makes the files below `root` that its volumes would have.

        Raises:
            MissingError: a volume is not there, or what it is made of.
        """
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                raise MissingError(f"there is no volume {mount['name']}")
            folder = root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            for source in _sources(volumes[mount["name"]]):
                self._write(source, folder)

    def _write(self, source: Object, folder: Path) -> None:
        for kind, key in (("ConfigMap", "configMap"), ("Secret", "secret")):
            given = source.get(key)
            if given is None:
                continue
            found = self.keys(
                kind, given.get("secretName") or given["name"], optional=given.get("optional", False)
            )
            items = given.get("items") or [{"key": name, "path": name} for name in found]
            for item in items:
                if item["key"] not in found:
                    raise MissingError(f"{kind} {given} has no key {item['key']}")
                (folder / item["path"]).write_text(found[item["key"]])


def references(container: Object) -> set[str]:
    """The variables that other values or arguments are made of."""
    texts = [entry.get("value", "") for entry in container.get("env", ())]
    texts += [*container.get("command", ()), *container.get("args", ())]
    return {name for text in texts for name in _REFERENCE.findall(text) if name}


def _sources(volume: Object) -> list[Object]:
    projected = volume.get("projected")
    return projected["sources"] if projected else [volume]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
