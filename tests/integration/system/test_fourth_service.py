"""A service that is added to a copy of this checkout: two files are edited by hand, and all else follows.

The service, watchlist_svc, with its contract lies in tests/support/fourth: with a schema, and without Kafka.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SERVICE = ROOT / "tests" / "support" / "fourth"
ENTRY = """SERVICES: Final = (
    Service(
        "watchlist_svc",
        contract="marquee.watchlists.v1",
        roles=(Role(SERVE, "Keeps users' watchlists.", needs=(Part.PRIMARY, Part.REPLICA)),),
        calls=("marquee.movies.v1.MovieService",),
    ),
"""
CLASSES = """services:
  marquee.watchlists.v1.WatchlistService:
    token: required
    methods:
      AddItem: write
      ListItems: read
"""
# What is known of the services, asked for as the parts do that use it.
FOLLOWERS = """
import json
from pathlib import Path
from local.servers.services import stores
from local.stack import certificates, provision
from local.stack.layout import Home, Stack, Shape, choose_ports
from local.supervision.processes import EDGE, port_names, select
from mesh import services

home = Home(Path("home"))
home.make()
processes = select([])
stack = Stack(home, choose_ports(port_names(processes, {}), {}, {}))
print(json.dumps({
    "processes": {process.name: list(process.needs) for process in processes},
    "alone": [process.name for process in select(["watchlist_svc"])],
    "certificates": list(certificates.NAMES),
    "edge": list(EDGE.needs),
    "environment": sorted(stores(stack, "watchlist_svc")),
    "roles": list(provision._WITH_SCHEMA),
    "acl": provision.redis_acl(stack),
    "callers": sorted(services.callers("marquee.movies.v1.MovieService")),
}))
"""


@dataclass
class Checkout:
    """A copy of this checkout, with stubs of its own."""

    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the copy, with its code and its stubs."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "stubs")])
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, *words: str) -> str:
        """What a program prints that must end well."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The copy, with the service's package and its contract, and nothing that tells of them."""
    copy = Checkout(tmp_path_factory.mktemp("fourth") / "checkout")
    skipped = shutil.ignore_patterns(".*", "__pycache__", "build", "node_modules")
    shutil.copytree(ROOT, copy.folder, ignore=skipped)
    shutil.copytree(SERVICE, copy.folder, dirs_exist_ok=True)
    pip = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", "stubs", "./protos")
    copy.says(*pip)
    return copy


@pytest.fixture(scope="module")
def added(checkout: Checkout) -> Checkout:
    """The copy after what the page on adding a service says."""
    refused = checkout.run("-m", "pytest", "-q", "tests/unit/mesh/test_services.py")
    assert refused.returncode == 1, "a package that stands in no table"
    checkout.edit("mesh/services.py", "SERVICES: Final = (\n", ENTRY)
    refused = checkout.run("-m", "edge.render", *render_words(checkout))
    assert "envoy/routes.yaml has no RPC of watchlist_svc" in refused.stderr
    checkout.edit("envoy/routes.yaml", "services:\n", CLASSES)
    checkout.says("scripts/configuration.py")
    checkout.says("-m", "k8s.workloads")
    return checkout


def render_words(checkout: Checkout) -> list[str]:
    checkout.says("-m", "edge.tokens", "init", "--dir=tokens")
    ports = ("--edge-port=18080", "--admin-port=18081", "--service-port=50051")
    return ["--out=envoy-out", *ports, "--jwks=tokens/jwks.json", "--access-log=/dev/null"]


def test_nothing_else_has_to_be_edited(added: Checkout) -> None:
    guards = ("mesh/test_services.py", "k8s/test_workloads.py", "mesh/test_migrations.py", "test_clients.py")
    pages = "tests/unit/test_docs.py::test_the_configuration_page_is_true"
    added.says("-m", "pytest", "-q", "-x", *(f"tests/unit/{name}" for name in guards), pages)


def test_the_local_stack_has_it(added: Checkout) -> None:
    (added.folder / "followers.py").write_text(FOLLOWERS)
    found = json.loads(added.says("followers.py"))
    assert found["processes"]["watchlist_svc"] == ["postgres", "postgres-proxy", "postgres-replica"]
    assert found["alone"] == ["postgres", "postgres-replica", "watchlist_svc"], (
        "it needs no Kafka and no Redis"
    )
    assert "watchlist_svc" in found["certificates"]
    assert "watchlist_svc" in found["edge"]
    assert "watchlist_svc" in found["roles"]
    assert "watchlist_svc" not in found["acl"]
    assert "watchlist_svc" in found["callers"]
    assert found["environment"] == [
        "MARQUEE_LOG_LEVEL",
        "MARQUEE_MOVIE_SVC",
        "MARQUEE_PAGE_TOKEN_KEY",
        "MARQUEE_PG_PRIMARY",
        "MARQUEE_PG_REPLICAS",
    ]


def test_the_edge_has_its_cluster_and_routes(added: Checkout) -> None:
    added.says("-m", "edge.render", "--validate", *render_words(added))
    bootstrap = yaml.safe_load((added.folder / "envoy-out" / "envoy.yaml").read_text())
    clusters = {cluster["name"] for cluster in bootstrap["static_resources"]["clusters"]}
    assert {"watchlist_svc", "watchlist_svc_canary"} <= clusters
    routes = (added.folder / "envoy-out" / "routes.yaml").read_text()
    assert "PUT /v1/{name=users/*/watchlist/*}" in routes
    description = json.loads((added.folder / "envoy-out" / "pages" / "openapi.json").read_text())
    assert "/v1/users/{user}/watchlist/{movie}" in description["paths"]


def test_the_pages_and_manifests_have_it(added: Checkout) -> None:
    assert "MARQUEE_WATCHLIST_SHOWN" in (added.folder / "docs" / "configuration.md").read_text()
    manifests = list(yaml.safe_load_all((added.folder / "k8s" / "base" / "services.yaml").read_text()))
    kinds = {each["kind"] for each in manifests if each["metadata"]["name"] == "watchlist-svc"}
    assert kinds == {"ServiceAccount", "Deployment", "Service", "PodDisruptionBudget"}


def test_tools_find_its_package(added: Checkout) -> None:
    wheel = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheels", ".")
    added.says(*wheel)
    [built] = (added.folder / "wheels").glob("marquee_mesh-*.whl")
    names = added.says("-m", "zipfile", "-l", str(built))
    assert "watchlist_svc/migrations/0001_watchlist.sql" in names
    (added.folder / "watchlist_svc" / "wrong.py").write_text("import grpc\nfrom mesh import names\n")
    said = added.run("-m", "ruff", "check", "--select=I,F", "watchlist_svc/wrong.py").stdout
    assert "I001" in said, "ruff takes mesh for a package of ours"
