"""Writes Envoy's configuration: `python -m edge.render --out DIR ...`, or `render(settings, out)`.

Rendering again into the same folder replaces the route and endpoint files by rename, and a running Envoy
takes them up at once; `envoy.yaml` itself is read at start only.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge import (
    compression,
    contract,
    envoy_module,
    errors,
    files,
    issuer,
    limits,
    live,
    openapi,
    pages,
    policies,
    publish,
    queries,
    shared_limits,
    shedding,
    template,
    tracing,
    trials,
    upstreams,
)
from edge.settings import EdgeSettings, EdgeTls
from mesh.config import load
from mesh.services import PUBLIC
from mesh.tls import host_name

__all__ = ["EdgeSettings", "EdgeTls", "render", "render_validated"]

LOG_KEY: Final = "log-key"

_NAMES: Final = tuple(service.name for service in PUBLIC)

_INNER_FILTERS: Final = ("errors", "tidy", "transcoder", "transcoder_partial", "late", "grpc_stats", "router")


def render(settings: EdgeSettings, out: Path) -> Path:
    """Writes everything that Envoy needs into `out`; returns the path of `envoy.yaml`.

    Raises:
        ValueError: the settings can't be used; the message says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    bounds = limits.Limits.load(settings.limits_file)
    table = policies.load_table()
    descriptors = contract.load()
    methods = contract.public_methods(descriptors)
    clusters_of = policies.clusters(table)
    policies.check(methods, table)
    folder = (settings.runtime_folder or out).resolve()

    pages.write(out / pages.FOLDER, settings.issuer)
    description = json.dumps(openapi.describe(descriptors, table, bounds), ensure_ascii=False)
    files.replace(out / pages.FOLDER / "openapi.json", description + "\n")
    contract.write_for_transcoder(descriptors, out / "descriptors.binpb")
    files.replace_bytes(out / envoy_module.FILE, envoy_module.library().read_bytes())
    log_key = settings.log_key.resolve() if settings.log_key else folder / LOG_KEY
    if settings.log_key is None:
        files.ensure_secret(out / LOG_KEY)
    for script in ("errors.lua", "bodiless.lua"):
        files.replace(out / script, (template.FOLDER / script).read_text())
    live.Routes(out, methods, table, runtime_folder=folder).write()
    values = _values(settings, bounds, folder) | _traces(settings, out)
    values["services"] = list(clusters_of)
    values["ready_clusters"] = {name: {"value": 1} for name in clusters_of.values()}
    values["errors"] = errors.local_reply_config()
    values["exposed_headers"] = table["cors"]["expose_headers"]
    values["access_log"] = template.load("access_log", values)
    values["who"] = envoy_module.filter_of(folder, "who", str(log_key))
    kept = f"{bounds.max_cache_bytes} {bounds.max_cache_entries}"
    values["cache"] = envoy_module.filter_of(folder, "cache", kept)
    values["late"] = envoy_module.filter_of(folder, "late", "")
    values["fields"] = envoy_module.filter_of(folder, "fields", "")
    values["shedders"] = shedding.filters(table, bounds.calls_always_under_way)
    values["compressors"] = compression.filters()
    values["compressors_before_the_cache"] = compression.filters_before_the_cache()
    values["http_filters"] = template.load("filters", values)
    shedders = {each["name"] for each in values["shedders"]}
    inner = {*_INNER_FILTERS, *shedders}
    values["inner_filters"] = [each for each in values["http_filters"] if each["name"] in inner]
    clusters = upstreams.write(settings, bounds, out, folder, clusters_of)
    clusters += shared_limits.clusters(settings.rate_limit_service) + issuer.clusters(settings.issuer)
    clusters.append(tracing.cluster(settings.traces))
    values["clusters"] = [*clusters, template.load("inner", values, part="cluster")]
    values["listeners"] = [template.load("listener", values), template.load("inner", values, part="listener")]
    if settings.stats_port is not None:
        values["stats_port"] = settings.stats_port
        values["clusters"].append(template.load("stats", values, part="cluster"))
        values["listeners"].append(template.load("stats", values, part="listener"))
    values["overload_manager"] = template.load("overload", values)
    bootstrap = out / "envoy.yaml"
    files.write_yaml(bootstrap, template.load("bootstrap", values))
    return bootstrap


def render_validated(settings: EdgeSettings, out: Path) -> Path:
    """Like `render`, once Envoy has looked at the files.

    Raises:
        ValueError: the settings can't be used, or Envoy would not take the files: `out` is then as it was.
    """
    runtime_folder = (settings.runtime_folder or out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with trials.changing(out), publish.Stage(out) as stage:
        render(_as_here(settings, out), stage.rehearsal)
        publish.validate(stage.rehearsal)
        render(dataclasses.replace(settings, runtime_folder=runtime_folder), stage.folder)
        stage.go_live()
    return out / "envoy.yaml"


def _as_here(settings: EdgeSettings, out: Path) -> EdgeSettings:
    """The settings with which Envoy can look at the files where they are written.

    If it will find them elsewhere, that may be another machine, with files that are not here.
    """
    here = dataclasses.replace(settings, runtime_folder=None)
    if settings.runtime_folder is None or settings.runtime_folder.resolve() == out.resolve():
        return here
    if settings.log_key is not None and not settings.log_key.exists():
        here = dataclasses.replace(here, log_key=None)
    if not Path(settings.access_log).parent.is_dir():
        here = dataclasses.replace(here, access_log="/dev/null")
    return here


def _traces(settings: EdgeSettings, out: Path) -> dict[str, Any]:
    key = settings.trace_key or out / tracing.KEY
    if settings.traces.endpoint and settings.trace_key is None:
        files.ensure_secret(key)
    return {
        "tracing": tracing.connection_manager(settings.traces),
        "early_mutations": tracing.early_mutations(settings.traces, key),
    }


def _values(settings: EdgeSettings, bounds: limits.Limits, folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = {
        "admin_port": settings.admin_port,
        "edge_address": settings.edge_address,
        "edge_port": settings.edge_port,
        "trusted_hops": settings.trusted_hops,
        "access_log_path": settings.access_log,
        "token": queries.WITH_JWT,
        "folder": str(folder),
        "version": openapi.VERSION,
        "rate_limit": limits.filter_config(bounds),
        "shared_rate_limit": shared_limits.filters(bounds, settings.rate_limit_service),
    }
    jwt = issuer.jwt_filter(settings.issuer, settings.jwks)
    values["jwt_providers"], values["jwt_requirements"] = jwt["providers"], jwt["requirement_map"]
    return values | bounds.placeholders


def by_name(service: str, port: int | None) -> list[str]:
    """Where DNS knows a service, as in Kubernetes; nowhere if there is no port."""
    return [] if port is None else [f"{host_name(service)}:{port}"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    given = _parser().parse_args(argv)
    settings = EdgeSettings(
        edge_address=given.edge_address,
        edge_port=given.edge_port,
        admin_port=given.admin_port,
        stats_port=given.stats_port,
        endpoints={name: getattr(given, name) or by_name(name, given.service_port) for name in _NAMES},
        canaries={name: getattr(given, f"{name}_canary") for name in _NAMES},
        jwks=given.jwks,
        issuer=load(issuer.IssuerConfig),
        limits_file=given.limits,
        rate_limit_service=given.rate_limit_service,
        trusted_hops=given.trusted_hops,
        access_log=given.access_log,
        log_key=given.log_key,
        traces=load(tracing.EdgeTraceConfig),
        trace_key=given.trace_key,
        tls=EdgeTls(*given.tls) if given.tls else None,
        runtime_folder=given.runtime_folder,
    )
    try:
        print(render_validated(settings, given.out) if given.validate else render(settings, given.out))
    except (ValueError, FileNotFoundError) as error:
        print(f"edge.render: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge.render", description="Writes Envoy's configuration."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--edge-address", default="127.0.0.1", help="address of the API (default: 127.0.0.1)")
    parser.add_argument("--edge-port", type=int, required=True, help="port of the API")
    parser.add_argument(
        "--admin-port", type=int, required=True, help="port of Envoy's admin page, on the loopback"
    )
    parser.add_argument(
        "--stats-port", type=int, help="port of Envoy's statistics for Prometheus, on the API's address"
    )
    for name in _NAMES:
        option = f"--{name.removesuffix('_svc')}"
        _add_instances(parser, option, name, f"an instance of {name}")
        _add_instances(parser, f"{option}-canary", f"{name}_canary", f"one of a release of {name} on trial")
    parser.add_argument(
        "--service-port",
        type=int,
        metavar="PORT",
        help="port of a service that no instance is given of: it is looked up by its name, such as movie-svc",
    )
    parser.add_argument(
        "--jwks",
        type=Path,
        help="file of the token issuer's public keys; not needed with MARQUEE_OIDC_JWKS_URL",
    )
    parser.add_argument("--limits", type=Path, default=limits.DEFAULT_FILE, help="what one client may do")
    parser.add_argument(
        "--rate-limit-service", metavar="HOST:PORT", help="the rate-limit service that several Envoys share"
    )
    parser.add_argument(
        "--trusted-hops", type=int, default=0, help="proxies before the edge to believe (default: 0)"
    )
    parser.add_argument(
        "--access-log", default="/dev/stdout", help="file of the access log (default: stdout)"
    )
    parser.add_argument("--log-key", type=Path, help="file of the key that users are hashed with in the log")
    parser.add_argument("--trace-key", type=Path, help="file of the key that operators have a call traced by")
    parser.add_argument(
        "--tls",
        nargs=3,
        type=Path,
        metavar=("CERT", "KEY", "CA"),
        help="mTLS to the services: the edge's certificate and key, and the authority of theirs",
    )
    parser.add_argument(
        "--runtime-folder", type=Path, help="where Envoy will find the files, if not in --out"
    )
    parser.add_argument(
        "--validate", action="store_true", help="replace what is in --out only if Envoy takes the new files"
    )
    return parser


def _add_instances(parser: argparse.ArgumentParser, option: str, dest: str, what: str) -> None:
    parser.add_argument(
        option,
        action="append",
        default=[],
        metavar="HOST:PORT",
        dest=dest,
        help=f"{what}; may be given several times",
    )


if __name__ == "__main__":
    sys.exit(main())
