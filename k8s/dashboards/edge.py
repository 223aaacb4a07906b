"""The edge: each route, the cache, and what lies behind."""

from typing import Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit, moving, quantile, rate, share
from k8s.dashboards.overview import EDGE

_CLUSTERS: Final = 'envoy_cluster_name=~"[a-z]+_svc"'
_CALLS: Final = "envoy_edge_route_calls"
_FAILED: Final = 'code!~"[123].*"'
_LIMITED: Final = 'code="429"'
_TIMES: Final = "envoy_edge_route_milliseconds"

_ROUTES: Final = Row(
    "By route, answers from the cache among them (health probes are not)",
    (
        Panel(
            "Calls",
            "How often each route is used. `unknown`: paths that there are not; many of them: "
            "somebody tries.",
            (Query(f"topk(12, {moving(_CALLS, 'route')})", "{{route}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "p99",
            "How long answers took, from the first byte of the request to the last of the answer; of "
            "streams, until "
            "their end.",
            (Query(f"topk(12, {quantile(0.99, _TIMES, 'route')})", "{{route}}"),),
            Unit.MILLISECONDS,
            steps=((250, "warning"),),
        ),
        Panel(
            "Other answers than 2xx and 3xx",
            "4xx are the clients' own: 429 says that limits work. 5xx are the mesh's.",
            (Query(f"topk(12, {moving(_CALLS, 'route, code', _FAILED)})", "{{route}} {{code}}"),),
            Unit.PER_SECOND,
        ),
    ),
    height=11,
)

_CACHE: Final = Row(
    "Cache, limits, connections",
    (
        Panel(
            "Cache",
            "Answers that the edge had ready, and those that it had to ask for.",
            (
                Query(rate("envoy_dynamicmodulescustom_edge_cache_hits"), "hits"),
                Query(rate("envoy_dynamicmodulescustom_edge_cache_misses"), "misses"),
            ),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Refused by limits",
            "Answers 429: a client asks more often than its tier allows.",
            (Query(f"{rate(_CALLS, labels=_LIMITED)} or vector(0)", "429"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Connections of clients",
            "Open now.",
            (Query(f"sum(envoy_http_downstream_cx_active{{{EDGE}}})", "connections"),),
        ),
        Panel(
            "Releases on trial",
            "The share of calls that a canary gets, in percent; empty without one.",
            (Query("max by (service) (marquee_canary_percent)", "{{service}}"),),
            quiet=True,
        ),
    ),
    height=7,
)

_BEHIND: Final = Row(
    "Behind the edge",
    (
        Panel(
            "Healthy instances",
            "0: every call to that service fails with 503.",
            (
                Query(
                    f"max by (envoy_cluster_name) (envoy_cluster_membership_healthy{{{_CLUSTERS}}})",
                    "{{envoy_cluster_name}}",
                ),
            ),
            kind=Kind.STAT,
        ),
        Panel(
            "p99 of each service, as the edge sees it",
            "The difference to the service's own page is the network and waiting.",
            (
                Query(
                    quantile(0.99, "envoy_cluster_upstream_rq_time", "envoy_cluster_name", _CLUSTERS),
                    "{{envoy_cluster_name}}",
                ),
            ),
            Unit.MILLISECONDS,
        ),
        Panel(
            "Retries, and calls that found no room",
            "Retries rise: an instance goes away without saying so. Overflows: more is under way than "
            "the services "
            "bear.",
            (
                Query(
                    rate("envoy_cluster_upstream_rq_retry", "envoy_cluster_name", _CLUSTERS),
                    "retries {{envoy_cluster_name}}",
                ),
                Query(
                    rate("envoy_cluster_upstream_rq_pending_overflow", "envoy_cluster_name", _CLUSTERS),
                    "overflow {{envoy_cluster_name}}",
                ),
            ),
            Unit.PER_SECOND,
        ),
        Panel(
            "Put aside",
            "Instances that the edge leaves out since their answers failed.",
            (
                Query(
                    "sum by (envoy_cluster_name) "
                    f"(envoy_cluster_outlier_detection_ejections_active{{{_CLUSTERS}}})",
                    "{{envoy_cluster_name}}",
                ),
            ),
        ),
    ),
    height=7,
)

_ITSELF: Final = Row(
    "Envoy itself",
    (
        Panel(
            "Memory",
            "What Envoy has allocated.",
            (Query("max by (instance) (envoy_server_memory_allocated)", "{{instance}}"),),
            Unit.BYTES,
        ),
        Panel(
            "Running since",
            "Begins again with each hand-over to a new process.",
            (Query("max(envoy_server_uptime)"),),
            Unit.SECONDS,
            Kind.STAT,
        ),
        Panel(
            "Days until a certificate ends",
            "From its end on, every call fails with 503.",
            (Query("min(envoy_server_days_until_first_cert_expiring)"),),
            kind=Kind.STAT,
        ),
        Panel(
            "5xx of the edge",
            "The share of answers that are the mesh's fault.",
            (
                Query(
                    share(
                        rate("envoy_http_downstream_rq_xx", labels=f'{EDGE},envoy_response_code_class="5"'),
                        rate("envoy_http_downstream_rq_xx", labels=EDGE),
                    ),
                    "5xx",
                ),
            ),
            Unit.SHARE,
        ),
    ),
    height=6,
)

PAGE: Final = Dashboard(
    "edge",
    "Edge",
    "What clients ask for, route by route, and what the edge makes of it.",
    (_ROUTES, _CACHE, _BEHIND, _ITSELF),
)
