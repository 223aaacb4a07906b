"""Envoy's configuration as it is written."""

import dataclasses
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import envoy
from edge import contract, pages, policies, routes, shared_limits, tokens, trials
from edge.limits import DEFAULT_FILE, Limits
from edge.render import EdgeSettings, main, render
from edge.template import load
from edge.trials import Audience, Canary, Trials
from mesh.services import PUBLIC

NAMES = [service.name for service in PUBLIC]
BINARY = Path(envoy.__file__).parent / "_bin" / "envoy"


def settings(folder: Path, **changes: Any) -> EdgeSettings:
    given: dict[str, Any] = {
        "edge_port": 8080,
        "admin_port": 9901,
        "endpoints": {name: ["127.0.0.1:50051"] for name in NAMES},
        "jwks": tokens.ensure_keys(folder / "keys"),
        **changes,
    }
    return EdgeSettings(**given)


def validated(bootstrap: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BINARY), "--mode", "validate", "--log-level", "warning", "--config-path", str(bootstrap)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def routes_of(out: Path, name: str = "routes") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((out / f"{name}.yaml").read_text())["resources"][0][
        "virtual_hosts"
    ][0]["routes"]
    return found


def test_envoy_takes_it_without_a_warning(tmp_path: Path) -> None:
    found = validated(render(settings(tmp_path), tmp_path / "out"))
    assert found.returncode == 0, found.stderr
    assert "warning" not in found.stderr


def test_host_names_are_asked_of_dns(tmp_path: Path) -> None:
    endpoints = {
        **{name: ["10.0.0.1:50051"] for name in NAMES},
        "movie_svc": ["movie-svc.marquee:50051"],
        "rating_svc": ["10.0.0.1:50051", "[2001:db8::1]:50051"],
    }
    bootstrap = render(settings(tmp_path, endpoints=endpoints), tmp_path / "out")
    clusters = {
        each["name"]: each for each in yaml.safe_load(bootstrap.read_text())["static_resources"]["clusters"]
    }
    assert clusters["movie_svc"]["type"] == "STRICT_DNS"
    assert clusters["rating_svc"]["type"] == "EDS"
    assert validated(bootstrap).returncode == 0


def test_the_admin_page_is_on_the_loopback_whatever_the_edge_listens_on(tmp_path: Path) -> None:
    bootstrap = yaml.safe_load(
        render(settings(tmp_path, edge_address="0.0.0.0"), tmp_path / "out").read_text()
    )
    assert bootstrap["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    listener = bootstrap["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["address"] == "0.0.0.0"


def test_rendering_the_same_again_touches_nothing(tmp_path: Path) -> None:
    render(settings(tmp_path), tmp_path / "out")
    before = {
        path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir() if path.suffix == ".yaml"
    }
    render(settings(tmp_path), tmp_path / "out")
    after = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir() if path.suffix == ".yaml"}
    assert after == before
    endpoints = {name: ["127.0.0.1:50099"] for name in NAMES}
    render(settings(tmp_path, endpoints=endpoints), tmp_path / "out")
    changed = {
        path.name
        for path in (tmp_path / "out").iterdir()
        if path.suffix == ".yaml" and before[path.name] != path.stat().st_ino
    }
    assert changed == {f"endpoints-{name}.yaml" for name in endpoints}, (
        "replaced by rename, and only what changed"
    )


def test_files_may_be_meant_for_another_folder(tmp_path: Path) -> None:
    bootstrap = render(settings(tmp_path, runtime_folder=Path("/etc/envoy")), tmp_path / "out")
    assert "/etc/envoy/routes.yaml" in bootstrap.read_text()
    assert str(tmp_path / "out") not in bootstrap.read_text()


def test_every_public_rpc_has_its_grpc_and_json_routes(tmp_path: Path) -> None:
    render(settings(tmp_path), tmp_path / "out")
    names = [route["name"] for route in routes_of(tmp_path / "out")]
    for method in contract.public_methods(contract.load()):
        assert f"grpc {method.service}.{method.name}" in names
        for binding in method.bindings:
            assert f"{binding.verb} {binding.template}" in names


def test_an_rpc_without_a_class_stops_the_build() -> None:
    table = policies.load_table()
    methods = contract.public_methods(contract.load())
    del table["services"]["marquee.movies.v1.MovieService"]["methods"]["GetMovie"]
    with pytest.raises(ValueError, match=r"MovieService\.GetMovie is public but"):
        routes.route_configuration(methods, table, pages.Site(Path("pages")), Path("out"))


def test_rendering_says_which_rpc_has_no_class_before_it_writes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = policies.load_table()
    del table["services"]["marquee.movies.v1.MovieService"]["methods"]["GetMovie"]
    monkeypatch.setattr(policies, "load_table", lambda: table)
    with pytest.raises(ValueError, match=r"MovieService\.GetMovie is public but"):
        render(settings(tmp_path), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_public_service_without_classes_stops_the_build() -> None:
    table = policies.load_table()
    del table["services"]["marquee.movies.v1.MovieService"]
    with pytest.raises(ValueError, match=r"envoy/routes\.yaml has no RPC of movie_svc"):
        policies.clusters(table)


def test_classes_of_a_service_that_nobody_answers_stop_the_build() -> None:
    table = policies.load_table()
    table["services"]["marquee.other.v1.Other"] = {"token": "optional", "methods": {"Get": "read"}}
    with pytest.raises(
        ValueError, match=r"no service in mesh/services\.py answers marquee\.other\.v1\.Other"
    ):
        policies.clusters(table)


def test_services_without_an_instance_of_their_own_are_looked_up_by_name(tmp_path: Path) -> None:
    keys = tokens.ensure_keys(tmp_path / "keys")
    given = [f"--out={tmp_path}", "--edge-port=1", "--admin-port=2", f"--jwks={keys}", "--movie=10.0.0.1:7"]
    assert main(given) == 1, "where the others are, nobody has said"
    assert main([*given, "--service-port=50051"]) == 0
    clusters = yaml.safe_load((tmp_path / "envoy.yaml").read_text())["static_resources"]["clusters"]
    found = {each["name"]: each for each in clusters}
    assert found["movie_svc"]["type"] == "EDS"
    [locality] = found["rating_svc"]["load_assignment"]["endpoints"]
    [endpoint] = locality["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address == {"address": "rating-svc", "port_value": 50051}


def test_a_class_for_no_rpc_stops_the_build() -> None:
    table = policies.load_table()
    methods = contract.public_methods(contract.load())
    table["services"]["marquee.rankings.v1.RankingAdminService"] = {
        "token": "required",
        "methods": {"RebuildCharts": "write"},
    }
    with pytest.raises(
        ValueError, match=r"no public service has: marquee\.rankings\.v1\.RankingAdminService"
    ):
        routes.route_configuration(methods, table, pages.Site(Path("pages")), Path("out"))


def test_writes_are_retried_only_if_they_can_not_have_happened(tmp_path: Path) -> None:
    render(settings(tmp_path), tmp_path / "out")
    for route in routes_of(tmp_path / "out"):
        verb = route["name"].split(" ")[0]
        policy = route.get("route", {}).get("retry_policy", {}).get("retry_on", "")
        if verb in ("PUT", "DELETE"):
            assert "reset" not in policy.split(",")
        if verb == "POST":
            assert policy == ""


@pytest.mark.parametrize(
    ("address", "says"),
    [("50051", "is not HOST:PORT"), ("host", "is not HOST:PORT"), (":1", "is not HOST:PORT")],
)
def test_a_bad_address_is_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, says: str
) -> None:
    jwks = tokens.ensure_keys(tmp_path / "keys")
    words = ["--out", str(tmp_path / "out"), "--edge-port", "1", "--admin-port", "2", "--jwks", str(jwks)]
    words += ["--movie", address, "--service-port", "1"]
    assert main(words) == 1
    assert says in capsys.readouterr().err


def test_a_template_asks_only_for_what_there_is() -> None:
    with pytest.raises(KeyError, match=r"envoy/cluster.yaml asks for \$\{name\}"):
        load("cluster", {})


def test_limits_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(DEFAULT_FILE.read_text() + "max_bananas: 3\n")
    with pytest.raises(ValueError, match="missing or unknown: max_bananas"):
        Limits.load(file)
    file.write_text(DEFAULT_FILE.read_text().replace("default_tier: free", "default_tier: gold"))
    with pytest.raises(ValueError, match="'gold' has no buckets"):
        Limits.load(file)


def test_a_heavy_users_whole_history_may_be_loaded_at_once() -> None:
    bucket = Limits.load().tiers["free"]["writes"]
    assert bucket.burst >= 2698, "the largest number of ratings of one user in MovieLens' small set"


def test_a_deprecated_call_says_when_it_ends() -> None:
    methods = contract.public_methods(contract.load())
    old = next(method for method in methods if method.name == "LookupMovie")
    methods[methods.index(old)] = dataclasses.replace(old, deprecated=True)
    table = policies.load_table()
    with pytest.raises(ValueError, match=r"without dates.*LookupMovie"):
        routes.route_configuration(methods, table, pages.Site(Path("pages")), Path("out"))
    ends = {"since": date(2026, 1, 1), "sunset": date(2026, 7, 1), "link": "https://marquee.example/v2"}
    table["deprecated"] = {old.full_name: ends}
    configuration = routes.route_configuration(methods, table, pages.Site(Path("pages")), Path("out"))
    said = [
        {
            each["append"]["header"]["key"]: each["append"]["header"]["value"]
            for each in route["typed_per_filter_config"]["answers"]["mutations"]["response_mutations"]
        }
        for route in configuration["virtual_hosts"][0]["routes"]
        if "answers" in route.get("typed_per_filter_config", {})
    ]
    # gRPC, gRPC-Web, HEAD, GET
    assert said == 4 * [
        {
            "deprecation": "@1767225600",
            "sunset": "Wed, 01 Jul 2026 00:00:00 GMT",
            "link": '<https://marquee.example/v2>; rel="deprecation"',
        }
    ]
    with pytest.raises(ValueError, match="does not deprecate"):
        routes.route_configuration(
            contract.public_methods(contract.load()), table, pages.Site(Path("pages")), Path("out")
        )


def test_the_cache_is_in_no_route_while_it_is_switched_off() -> None:
    def cached(on_trial: Trials) -> int:
        methods, table = contract.public_methods(contract.load()), policies.load_table()
        made = routes.route_configuration(methods, table, pages.Site(Path("pages")), Path("out"), on_trial)
        every = made["virtual_hosts"][0]["routes"]
        return sum("cache" in route.get("typed_per_filter_config", {}) for route in every)

    assert cached(Trials()) > 10
    canary = Canary(Audience(50.0))
    assert cached(Trials({"movie_svc": canary})) > 10
    assert cached(Trials(cache=False)) == cached(Trials({"movie_svc": canary}, cache=False)) == 0


def test_a_record_of_trials_keeps_whether_the_edge_caches(tmp_path: Path) -> None:
    trials.save(tmp_path, Trials(cache=False))
    assert not trials.load(tmp_path).cache
    # Of a release that knew no switch.
    (tmp_path / trials.FILE).write_text('{"canaries": {}, "experiments": {}}')
    assert trials.load(tmp_path).cache


def test_shared_limits_are_what_a_bucket_gives_in_a_minute() -> None:
    bounds = Limits.load()
    config = shared_limits.service_config(bounds)
    assert config["domain"] == "marquee"
    found = {
        (tier["value"], kind["value"]): (client["key"], client["rate_limit"])
        for tier in config["descriptors"]
        for kind in tier["descriptors"]
        for client in kind["descriptors"]
    }
    assert len(found) == sum(len(buckets) for buckets in bounds.tiers.values())
    writes = bounds.tiers["free"]["writes"]
    per_minute = writes.burst + 60 * writes.per_second
    assert found["free", "writes"] == ("user", {"unit": "minute", "requests_per_unit": per_minute})
    assert found["anonymous", "reads"][0] == "masked_remote_address"


def test_the_environment_may_name_an_oidc_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_OIDC_JWKS_URL", "https://login.example:8443/keys")
    monkeypatch.setenv("MARQUEE_OIDC_ISSUER", "https://login.example")
    monkeypatch.setenv("MARQUEE_OIDC_AUDIENCE", "marquee-api")
    words = ["--out", str(tmp_path / "out"), "--edge-port", "1", "--admin-port", "2"]
    words += [f"--{service.name.removesuffix('_svc')}=127.0.0.1:3" for service in PUBLIC]
    assert main(words) == 0
    bootstrap = tmp_path / "out" / "envoy.yaml"
    text = bootstrap.read_text()
    for expected in (
        "https://login.example:8443/keys",
        "marquee-api",
        "port_value: 8443",
        "sni: login.example",
    ):
        assert expected in text
    assert validated(bootstrap).returncode == 0
    monkeypatch.delenv("MARQUEE_OIDC_JWKS_URL")
    assert main(words) == 1, "neither a URL of keys nor a file"
