"""Writes the first stage as a Compose file, for whom has Docker or podman and no Kubernetes.

    python -m k8s.compose            # prints the command that starts it

It is made from the overlay `early`: the same images, variables, arguments, files, users and limits. What a
kubelet does beside (probes that restart, policies between pods) Compose does not.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from k8s import manifests, secrets
from k8s.environment import Given
from k8s.manifests import Object
from local.stack.layout import default_home, write_private

Service: TypeAlias = dict[str, Any]

# Each step waits for those before it: `marquee/step`, and what has none.
_STEPS: Final = ("stores", "provision", "migrate", "serve")
_EDGE_PORT: Final = 8080
_PYTHON_ASKS: Final = "import socket; socket.create_connection(('127.0.0.1', {port}), 2)"


def project(overlay: Sequence[Object], given: Sequence[Object], folder: Path) -> dict[str, Any]:
    """The Compose file's content; files of ConfigMaps and Secrets are written below `folder`."""
    objects = [*overlay, *given]
    known = Given(objects)
    services: dict[str, Service] = {}
    steps: dict[str, list[str]] = {step: [] for step in _STEPS}
    for workload, pod in manifests.pods(tuple(overlay)):
        made = dict(_pod(workload, _with_claims(workload, pod), known, folder))
        for service in made.values():
            if "network_mode" not in service:
                service["networks"] = {"default": {"aliases": _aliases(workload, overlay)}}
        services |= made
        steps[_step(workload)].extend(made)
    for number, step in enumerate(_STEPS[1:], 1):
        before = [name for earlier in _STEPS[:number] for name in steps[earlier]]
        for name in steps[step]:
            for other in before:
                if services[other].get("restart") != "no" or not _is_init(other):
                    services[name].setdefault("depends_on", {})[other] = _condition(services[other])
    services["edge"]["ports"] = [f"{_EDGE_PORT}:8080"]
    return {"name": "marquee", "services": services}


def _with_claims(workload: Object, pod: Object) -> Object:
    """A pod with the volumes that its StatefulSet claims, which are folders here like others."""
    claims = workload["spec"].get("volumeClaimTemplates", ())
    volumes = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
    return {**pod, "volumes": [*pod.get("volumes", ()), *volumes]}


def _pod(workload: Object, pod: Object, known: Given, folder: Path) -> Iterator[tuple[str, Service]]:
    """A pod's containers, one service each: what prepares it, then the first, then those beside it."""
    name = workload["metadata"]["name"]
    once = workload["kind"] == "Job"
    waits: dict[str, dict[str, str]] = {}
    for container in pod.get("initContainers", ()):
        service = _container(workload, pod, container, known, folder) | {
            "restart": "no",
            "depends_on": dict(waits),
        }
        init = f"{name}-{container['name']}-init"
        yield init, service
        waits[init] = {"condition": "service_completed_successfully"}
    for number, container in enumerate(pod["containers"]):
        service = _container(workload, pod, container, known, folder)
        service["restart"] = "no" if once else "unless-stopped"
        service["depends_on"] = dict(waits)
        if number:
            service["network_mode"] = f"service:{name}"
            service["depends_on"][name] = {"condition": "service_started"}
        yield (f"{name}-{container['name']}" if number else name), service


def _container(workload: Object, pod: Object, container: Object, known: Given, folder: Path) -> Service:
    user = pod["securityContext"]
    words = known.arguments(container)
    service: Service = {
        "image": container["image"],
        "environment": _literal(known.environment(container)),
        "user": f"{user['runAsUser']}:{user['runAsGroup']}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": container["resources"]["limits"]["memory"].replace("Mi", "m").replace("Gi", "g"),
        "stop_grace_period": f"{pod.get('terminationGracePeriodSeconds', 30)}s",
        # As Kubernetes has it: `command` stands for the image's entrypoint, `args` for what follows.
        "command": _literal(words[len(container.get("command", ())) :]),
        **_volumes(workload, pod, container, known, folder),
    }
    if "command" in container:
        service["entrypoint"] = _literal(words[: len(container["command"])])
    if check := _check(container):
        service["healthcheck"] = check
    return service


def _volumes(workload: Object, pod: Object, container: Object, known: Given, folder: Path) -> Service:
    """Folders of this machine in place of a pod's volumes; what is in memory there is so here."""
    name = workload["metadata"]["name"]
    files = folder / "files" / name / container["name"]
    known.write_files(pod, container, files)
    mounts, in_memory = [], []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container.get("volumeMounts", ()):
        path = mount["mountPath"]
        volume = volumes[mount["name"]]
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            in_memory.append(path)
        elif "emptyDir" in volume:
            kept = folder / "volumes" / name / mount["name"]
            kept.mkdir(parents=True, exist_ok=True)
            kept.chmod(0o777)
            mounts.append({"type": "bind", "source": str(kept), "target": path})
        else:
            source = files / path.lstrip("/")
            mounts.append({"type": "bind", "source": str(source), "target": path, "read_only": True})
    return {"volumes": mounts, "tmpfs": in_memory}


def _check(container: Object) -> Service | None:
    """The probe of a start, if it is one that Compose can have."""
    probe = container.get("startupProbe", {})
    if "exec" in probe:
        test = ["CMD", *probe["exec"]["command"]]
    elif "tcpSocket" in probe:
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        port = ports.get(probe["tcpSocket"]["port"], probe["tcpSocket"]["port"])
        test = ["CMD", "/opt/marquee/bin/python", "-c", _PYTHON_ASKS.format(port=port)]
    else:
        return None
    return {"test": test, "interval": "2s", "timeout": "5s", "retries": 150}


def _aliases(workload: Object, overlay: Iterable[Object]) -> list[str]:
    """The names of the Services that lead to a workload."""
    labels = workload["spec"]["template"]["metadata"].get("labels", {})
    return [
        each["metadata"]["name"]
        for each in overlay
        if each["kind"] == "Service"
        and each["spec"].get("selector")
        and each["spec"]["selector"].items() <= labels.items()
    ]


def _step(workload: Object) -> str:
    step: str = workload["metadata"].get("labels", {}).get("marquee/step", "stores")
    return step


def _is_init(name: str) -> bool:
    return name.endswith("-init")


def _condition(service: Service) -> dict[str, str]:
    if service["restart"] == "no":
        return {"condition": "service_completed_successfully"}
    return {"condition": "service_healthy" if "healthcheck" in service else "service_started"}


def _literal(value: Any) -> Any:
    """Values that Compose must not look for variables in."""
    if isinstance(value, dict):
        return {name: _literal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m k8s.compose", description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=default_home().root / "compose")
    folder: Path = parser.parse_args().folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "secrets").mkdir(exist_ok=True)
    given = list(secrets.objects(folder / "secrets"))
    content = project(manifests.render("early"), given, folder)
    # Passwords stand in it. JSON is YAML.
    write_private(folder / "compose.yaml", json.dumps(content, indent=1))
    print(f"docker compose --file {folder / 'compose.yaml'} up --detach")


if __name__ == "__main__":
    main()
