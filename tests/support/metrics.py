"""Which metrics there are, and which a query asks for."""

import importlib
import pkgutil
import re

from prometheus_client.metrics import MetricWrapperBase

import edge
import mesh
import movie_svc
import ranking_svc
import rating_svc


def asked(text: str) -> set[str]:
    """The metrics that are named there, without labels."""
    bare = re.sub(r"\{[^{}]*\}|by \([^)]*\)", "", text)
    return set(re.findall(r"\b(?:marquee|grpc|process|envoy)_\w+", bare))


def defined() -> set[str]:
    """The names of all samples that processes of the mesh can export."""
    found: set[str] = set()
    for package in (edge, mesh, movie_svc, rating_svc, ranking_svc):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, MetricWrapperBase):
                    name, kind = value._name, value._type
                    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
                    found |= {name + suffix for suffix in suffixes.get(kind, [""])}
    return found
