"""The tutorial on adding a service works: it is followed to the letter in a copy, and the result called.

Two files are edited by hand, a test is added, and all else follows from them.
"""

import json
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from local.stack import certificates
from local.stack.layout import Home, Stack
from mesh.tls import EDGE
from tests.support.checkout import Checkout, CopysEdge, edge_of
from tests.support.stacks import running
from tests.support.tutorials import follow, read

STEPS: Final = read("add-a-service")
OWN: Final = ("watchlist_svc/", "protos/marquee/watchlists/")
# What is known of the services, asked for as the parts do that use it.
FOLLOWERS = """
import json
from pathlib import Path
from local.servers.services import stores
from local.stack import certificates, provision
from local.stack.layout import Home, Stack, Shape, choose_ports
from local.supervision.processes import EDGE, port_names, select
from mesh.provision import WITH_SCHEMA

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
    "roles": list(WITH_SCHEMA),
    "acl": provision.redis_acl(stack),
}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The copy, with the service's package and its contract, and nothing that tells of them."""
    copy = Checkout.at(tmp_path_factory.mktemp("service") / "checkout")
    follow([step for step in STEPS if step.file.startswith(OWN)], copy.folder)
    copy.make_stubs()
    return copy


@pytest.fixture(scope="module")
def added(checkout: Checkout) -> Checkout:
    """The copy after the whole tutorial. Each file that is left out is asked for."""
    refused = checkout.run("-m", "pytest", "-q", "tests/unit/mesh/test_services.py")
    assert refused.returncode == 1, "a package that stands in no table"
    follow([step for step in STEPS if step.file == "mesh/services.py"], checkout.folder)
    refused = checkout.run("-m", "edge.render", *render_words(checkout))
    assert "envoy/routes.yaml has no RPC of watchlist_svc" in refused.stderr
    others = (*OWN, "mesh/services.py")
    follow([step for step in STEPS if not step.file.startswith(others)], checkout.folder)
    checkout.says("scripts/configuration.py")
    checkout.says("-m", "k8s.writing")
    return checkout


@pytest.fixture(scope="module")
def started(added: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service and what it needs, started by the copy's launcher."""
    home = Home(tmp_path_factory.mktemp("home"))
    environment = {"PYTHONPATH": added.environment["PYTHONPATH"]}
    with running(home, ["watchlist_svc"], environment=environment, folder=added.folder) as stack:
        yield stack


@pytest.fixture(scope="module")
def edge(added: Checkout, started: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CopysEdge]:
    files = certificates.of(started.home, EDGE)
    tls = ("--tls", files.certificate, files.key, files.authority)
    address = started.address("watchlist_svc", "grpc")
    with edge_of(added, {"watchlist_svc": address}, tmp_path_factory.mktemp("edge"), *tls) as found:
        yield found


def render_words(checkout: Checkout) -> list[str]:
    checkout.says("-m", "edge.tokens", "init", "--dir=tokens")
    ports = ("--edge-port=18080", "--admin-port=18081", "--service-port=50051")
    return ["--out=envoy-out", *ports, "--jwks=tokens/jwks.json", "--access-log=/dev/null"]


def test_it_touches_three_files_outside_the_package_and_the_contract() -> None:
    assert len({step.file for step in STEPS if not step.file.startswith(OWN)}) <= 3


def test_users_keep_a_list_of_their_own_through_the_edge(edge: CopysEdge) -> None:
    for movie in ("tt0111161", "tt0068646", "tt0113277"):
        put = edge.call("PUT", f"/v1/users/me/watchlist/{movie}", "ann", json={})
        assert put.status_code == 200, put.text
        assert put.json()["movie"] == f"movies/{movie}"
    assert edge.call("PUT", "/v1/users/me/watchlist/tt0068646", "ben", json={}).status_code == 200
    assert edge.call("DELETE", "/v1/users/me/watchlist/tt0068646", "ann").status_code == 200
    assert listed(edge, "ann") == ["tt0113277", "tt0111161"]
    assert listed(edge, "ben") == ["tt0068646"]


def listed(edge: CopysEdge, user: str) -> list[str]:
    """The movies of a list, asked for one by one."""
    found: list[str] = []
    token = ""
    while True:
        query = {"pageSize": 1, "pageToken": token}
        answer = edge.call("GET", "/v1/users/me/watchlist", user, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [watch["name"].removeprefix("users/me/watchlist/") for watch in page["watches"]]
        token = page["nextPageToken"]
        if not token:
            return found


@pytest.mark.parametrize(
    ("method", "path", "user", "status", "reason"),
    [
        ("GET", "/v1/users/me/watchlist", "", 401, "TOKEN_REQUIRED"),
        ("GET", "/v1/users/ben/watchlist", "ann", 400, "INVALID_USER_NAME"),
        ("PUT", "/v1/users/me/watchlist/heat", "ann", 400, "INVALID_WATCH_NAME"),
        ("DELETE", "/v1/users/me/watchlist/tt0000001", "ann", 404, "WATCH_NOT_FOUND"),
    ],
)
def test_what_is_wrong_is_an_error_of_the_apis_form(
    edge: CopysEdge, method: str, path: str, user: str, status: int, reason: str
) -> None:
    refused = edge.call(method, path, user, json={} if method == "PUT" else None)
    assert refused.status_code == status, refused.text
    assert reason in refused.text


def test_its_code_is_in_the_houses_style(added: Checkout) -> None:
    added.check_style(STEPS)
    added.says("-m", "mypy", "--no-incremental", "watchlist_svc")


def test_the_test_that_the_tutorial_adds_passes(added: Checkout) -> None:
    added.says("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/watchlist_svc")


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
    assert found["environment"] == [
        "MARQUEE_LOG_LEVEL",
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


def test_the_manifests_have_it(added: Checkout) -> None:
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
