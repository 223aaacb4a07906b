"""Which calls are counted together to tell whether a service is overloaded (envoy/shed.yaml)."""

from collections.abc import Mapping
from typing import Any

from edge import template
from mesh import services


def name(cluster: str, policy: Mapping[str, Any]) -> str | None:
    """The filter that watches the calls of a service that are of one patience; None for streams."""
    return f"shed {cluster} {policy['patience']}" if "patience" in policy else None


def filters(table: Mapping[str, Any], always: int) -> list[dict[str, Any]]:
    """Envoy's filters, one for each patience of each service; `always` so many calls may be under way."""
    needed = {
        name(services.owner(grpc_service).name, policy): policy.get("patience")
        for grpc_service, entry in table["services"].items()
        for policy in (table["classes"][kind] for kind in entry["methods"].values())
    }
    return [
        template.load("shed", {"name": each, "patience": patience, "always": always})
        for each, patience in needed.items()
        if each is not None
    ]
