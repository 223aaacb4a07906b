"""How much room there is, and what uses it."""

from typing import Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit, quantile, rate
from k8s.dashboards.overview import EDGE

_CALLS: Final = rate("envoy_http_downstream_rq_total", labels=EDGE)

_CPU: Final = rate("process_cpu_seconds_total", labels='job=~"(movie|rating|ranking)[_-].+"')

_NOW: Final = Row(
    "Now",
    (
        Panel(
            "Cores in use",
            "Of the processes whose metrics are read: services and what watches them; not the stores, "
            "not the edge.",
            (Query(rate("process_cpu_seconds_total")),),
            kind=Kind.STAT,
        ),
        Panel(
            "CPU a call",
            "Of the services, for each request at the edge; docs/capacity.md says what was measured.",
            (Query(f"{_CPU} / ({_CALLS} > 0)"),),
            Unit.SECONDS,
            Kind.STAT,
        ),
        Panel(
            "Memory",
            "Resident, of the same processes; what they share is counted in each.",
            (Query("sum(process_resident_memory_bytes)"),),
            Unit.BYTES,
            Kind.STAT,
        ),
        Panel(
            "Busiest process",
            "Cores. Near 1: start more instances.",
            (Query(f"max({rate('process_cpu_seconds_total', 'instance')})"),),
            kind=Kind.STAT,
            steps=((0.7, "warning"), (0.9, "bad")),
        ),
        Panel(
            "Fullest pool",
            "The largest share of a pool of PostgreSQL connections that is in use.",
            (
                Query(
                    'max(sum by (instance, server) (marquee_postgres_pool_connections{state="used"}) / '
                    "max by (instance, server) (marquee_postgres_pool_limit_connections))"
                ),
            ),
            Unit.SHARE,
            Kind.STAT,
            steps=((0.8, "warning"), (1, "bad")),
        ),
        Panel(
            "Quota of OMDb",
            "Used of today's calls.",
            (Query("max(marquee_omdb_quota_used) / max(marquee_omdb_quota_limit)"),),
            Unit.SHARE,
            Kind.STAT,
            steps=((0.8, "warning"), (0.95, "bad")),
        ),
    ),
    height=4,
)

_PROCESSES: Final = Row(
    "Processes",
    (
        Panel(
            "CPU by process",
            "Cores, by process. Ours run on one each.",
            (Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
            kind=Kind.STACKED,
        ),
        Panel(
            "Memory by process",
            "Resident, by process.",
            (Query("max by (instance) (process_resident_memory_bytes)", "{{instance}}"),),
            Unit.BYTES,
        ),
        Panel(
            "Event loop's lag, p99",
            "How late each process runs. Rises before calls get slow.",
            (Query(quantile(0.99, "marquee_event_loop_lag_seconds", "instance"), "{{instance}}"),),
            Unit.SECONDS,
            steps=((0.25, "warning"),),
        ),
    ),
    height=9,
)

_GROWTH: Final = Row(
    "Growth",
    (
        Panel(
            "Calls at the edge",
            "Look at the last day or week: choose the range above.",
            (Query(_CALLS, "requests"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Open files",
            "Of those that a process may open.",
            (Query("max by (instance) (process_open_fds / process_max_fds)", "{{instance}}"),),
            Unit.SHARE,
        ),
        Panel(
            "Series in Prometheus",
            "Its memory grows with them.",
            (Query("max(prometheus_tsdb_head_series)", "series"),),
        ),
        Panel(
            "Calls under way",
            "In all processes of the services, streams among them.",
            (Query("sum by (job) (grpc_server_in_flight)", "{{job}}"),),
        ),
    ),
    height=7,
)

PAGE: Final = Dashboard(
    "capacity",
    "Capacity",
    "How much room there is, and what uses it.",
    (_NOW, _PROCESSES, _GROWTH),
)
