"""One page for each service of the mesh: what all of them have, then what is its own."""

from typing import Final

from k8s.dashboards import movie, ranking, rating
from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit, moving, quantile, rate, share
from mesh.services import SERVICES, Service

_OWN: Final = {"movie_svc": movie.ROWS, "rating_svc": rating.ROWS, "ranking_svc": ranking.ROWS}
_FAULTS: Final = "Internal|Unknown|DataLoss|Unavailable|DeadlineExceeded"


def page(service: Service) -> Dashboard:
    """The page of a service."""
    return Dashboard(
        service.name,
        service.name,
        " ".join(f"{service.process(role)}: {role.purpose}" for role in service.roles),
        (_now(service), _calls(service), _steps(service), *_OWN.get(service.name, ()), _processes(service)),
    )


def jobs(service: Service) -> str:
    """What selects its processes: `rating_svc-worker` on one machine, `rating-worker` in a cluster."""
    return f'job=~"{service.name.removesuffix("_svc")}[_-].+"'


def _grpc(service: Service, more: str = "") -> str:
    return f'grpc_service=~"{service.contract}[.].+"{more}'


def _now(service: Service) -> Row:
    calls = _grpc(service)
    return Row(
        "Is it well?",
        (
            Panel(
                "Calls",
                "RPCs a second that ended here.",
                (Query(rate("grpc_server_handled_total", labels=calls)),),
                Unit.PER_SECOND,
                Kind.STAT,
            ),
            _faults(service),
            _p99(service),
            Panel(
                "Instances",
                "Processes of this service whose metrics can be read.",
                (Query(f"sum(up{{{jobs(service)}}})"),),
                kind=Kind.STAT,
            ),
            Panel(
                "Parts away",
                "What its processes stand on and do not reach.",
                (Query(f"count(marquee_dependency_up{{{jobs(service)}}} == 0) or vector(0)"),),
                kind=Kind.STAT,
                steps=((1, "bad"),),
            ),
            Panel(
                "Background failures",
                "Tasks beside the calls that ended with an exception in the last quarter of an hour "
                "and were started again: see the logs.",
                (
                    Query(
                        f"sum(increase(marquee_background_failures_total{{{jobs(service)}}}[15m])) "
                        "or vector(0)"
                    ),
                ),
                kind=Kind.STAT,
                steps=((1, "warning"),),
            ),
        ),
        height=4,
    )


def _faults(service: Service) -> Panel:
    return Panel(
        "Faults",
        "The share of RPCs that ended with an error of the service or of what it stands on. "
        "The objective allows 0.1 %.",
        (
            Query(
                share(
                    rate("grpc_server_handled_total", labels=_grpc(service, f',grpc_code=~"{_FAULTS}"')),
                    rate("grpc_server_handled_total", labels=_grpc(service)),
                )
            ),
        ),
        Unit.SHARE,
        Kind.STAT,
        steps=((0.001, "warning"), (0.01, "bad")),
    )


def _p99(service: Service) -> Panel:
    return Panel(
        "p99",
        "99 of 100 single calls end within this time; streams not among them.",
        (Query(quantile(0.99, "grpc_server_handling_seconds", labels=_grpc(service, ',grpc_type="unary"'))),),
        Unit.SECONDS,
        Kind.STAT,
        steps=((0.25, "warning"), (1, "bad")),
    )


def _calls(service: Service) -> Row:
    return Row(
        "Calls",
        (
            Panel(
                "By method",
                "RPCs a second that ended here.",
                (
                    Query(
                        moving("grpc_server_handled_total", "grpc_method", _grpc(service)),
                        "{{grpc_method}}",
                    ),
                ),
                Unit.PER_SECOND,
                Kind.STACKED,
            ),
            Panel(
                "Other ends than OK",
                "NotFound and InvalidArgument are the callers' own. Unavailable and DeadlineExceeded: "
                "a part is away "
                "or slow. Internal: a bug.",
                (
                    Query(
                        moving(
                            "grpc_server_handled_total",
                            "grpc_method, grpc_code",
                            _grpc(service, ',grpc_code!="OK"'),
                        ),
                        "{{grpc_method}} {{grpc_code}}",
                    ),
                ),
                Unit.PER_SECOND,
            ),
            Panel(
                "p99 by method",
                "How long single calls took in this service.",
                (
                    Query(
                        quantile(
                            0.99,
                            "grpc_server_handling_seconds",
                            "grpc_method",
                            _grpc(service, ',grpc_type="unary"'),
                        ),
                        "{{grpc_method}}",
                    ),
                ),
                Unit.SECONDS,
            ),
        ),
    )


def _steps(service: Service) -> Row:
    """Of the calls that were sampled, as Jaeger counts their spans."""
    own = f'service_name=~"{service.name}.*",span_kind=~"SPAN_KIND_(CLIENT|PRODUCER)"'
    return Row(
        "What it waits for",
        (
            Panel(
                "Time by step",
                "Seconds a second that sampled calls wait here for stores, Kafka and other services. "
                "The largest is where calls spend their time. Empty without Jaeger.",
                (
                    Query(
                        f"topk(8, {moving('traces_span_metrics_duration_seconds_sum', 'span_name', own)})",
                        "{{span_name}}",
                    ),
                ),
                kind=Kind.STACKED,
                quiet=True,
            ),
            Panel(
                "p95 by step",
                "19 of 20 such steps end within this time. One that climbs alone is the one to look at: "
                "its slow calls are among the traces. Empty without Jaeger.",
                (
                    Query(
                        quantile(0.95, "traces_span_metrics_duration_seconds", "span_name", own),
                        "{{span_name}}",
                    ),
                ),
                Unit.SECONDS,
                quiet=True,
            ),
        ),
    )


def _processes(service: Service) -> Row:
    chosen = jobs(service)
    return Row(
        "Its processes",
        (
            Panel(
                "CPU",
                "Cores in use. A process runs on one: near 1, its calls wait for one another.",
                (Query(rate("process_cpu_seconds_total", "instance", chosen), "{{instance}}"),),
                steps=((0.9, "warning"),),
            ),
            Panel(
                "Memory",
                "Resident memory; what processes share is counted in each.",
                (Query(f"max by (instance) (process_resident_memory_bytes{{{chosen}}})", "{{instance}}"),),
                Unit.BYTES,
            ),
            Panel(
                "Event loop's lag, p99",
                "How late a turn of the event loop comes: every call of the process waits that long.",
                (
                    Query(
                        quantile(0.99, "marquee_event_loop_lag_seconds", "instance", chosen), "{{instance}}"
                    ),
                ),
                Unit.SECONDS,
                steps=((0.25, "warning"),),
            ),
            Panel(
                "Calls under way",
                "Streams among them. Climbs without falling: something downstream hangs.",
                (Query(f"sum by (instance) (grpc_server_in_flight{{{chosen}}})", "{{instance}}"),),
            ),
        ),
    )


PAGES: Final = tuple(page(service) for service in SERVICES)
