"""The first page: is Marquee well, and if not, where to look."""

from typing import Final

from k8s.dashboards.model import (
    Dashboard,
    Kind,
    Panel,
    Query,
    Row,
    Unit,
    moving,
    quantile,
    quantiles,
    rate,
    share,
)

EDGE: Final = 'envoy_http_conn_manager_prefix="edge"'
FRESHNESS: Final = "marquee_ranking_submit_to_aggregate_seconds"


def _firing(severity: str) -> tuple[Query, ...]:
    return (Query(f'count(ALERTS{{alertstate="firing",severity="{severity}"}}) or vector(0)'),)


_NOW: Final = Row(
    "Is it well?",
    (
        Panel(
            "Pages firing",
            "Alerts that wake somebody. Above 0: see the table below, and the runbook of each.",
            _firing("page"),
            kind=Kind.STAT,
            steps=((1, "bad"),),
        ),
        Panel(
            "Tickets firing",
            "Alerts that can wait for the morning.",
            _firing("ticket"),
            kind=Kind.STAT,
            steps=((1, "warning"),),
        ),
        Panel(
            "Calls at the edge",
            "Requests a second, health probes too. Falls to nothing: clients don't reach the edge.",
            (Query(rate("envoy_http_downstream_rq_total", labels=EDGE)),),
            Unit.PER_SECOND,
            Kind.STAT,
        ),
        Panel(
            "Answers 5xx",
            "The share of the edge's answers that are the mesh's fault. The objective allows 0.1 %.",
            (
                Query(
                    share(
                        rate("envoy_http_downstream_rq_xx", labels=f'{EDGE},envoy_response_code_class="5"'),
                        rate("envoy_http_downstream_rq_xx", labels=EDGE),
                    )
                ),
            ),
            Unit.SHARE,
            Kind.STAT,
            steps=((0.001, "warning"), (0.01, "bad")),
        ),
        Panel(
            "Edge, p99",
            "99 of 100 answers of the edge come within this time. The objective: 250 ms.",
            (Query(quantile(0.99, "envoy_http_downstream_rq_time", labels=EDGE)),),
            Unit.MILLISECONDS,
            Kind.STAT,
            steps=((250, "warning"), (1000, "bad")),
        ),
        Panel(
            "Rating → chart, p99",
            "99 of 100 ratings are counted within this time. The objective: 2.5 s.",
            (Query(quantile(0.99, FRESHNESS)),),
            Unit.SECONDS,
            Kind.STAT,
            steps=((2.5, "warning"), (10, "bad")),
        ),
        Panel(
            "Processes away",
            "Processes whose metrics Prometheus can't read.",
            (Query("count(up == 0) or vector(0)"),),
            kind=Kind.STAT,
            steps=((1, "bad"),),
        ),
    ),
    height=4,
)

_WRONG: Final = Row(
    "What is wrong (empty while all is well)",
    (
        Panel(
            "Alerts",
            "What fires now. k8s/observability/runbooks/NAME.md says what to do.",
            (
                Query(
                    'max by (alertname, severity, instance, job, reader, topic) (ALERTS{alertstate="firing",'
                    'severity!="none"})'
                ),
            ),
            kind=Kind.TABLE,
            columns={
                "alertname": "Alert",
                "severity": "Severity",
                "instance": "Instance",
                "job": "Job",
                "reader": "Reader",
                "topic": "Topic",
            },
            quiet=True,
        ),
        Panel(
            "Parts that are away",
            "What a process stands on and does not reach, as its own last probe found.",
            (Query("max by (job, dependency) (1 - marquee_dependency_up) > 0"),),
            kind=Kind.TABLE,
            columns={"job": "Process", "dependency": "Does not reach"},
            quiet=True,
        ),
    ),
    height=5,
)

_CALLS: Final = Row(
    "Calls",
    (
        Panel(
            "Answers by status",
            "All answers of the edge by their class. 4xx rises alone: a client has changed. 5xx: see "
            "the edge's page.",
            (
                Query(
                    moving("envoy_http_downstream_rq_xx", "envoy_response_code_class", EDGE),
                    "{{envoy_response_code_class}}xx",
                ),
            ),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Latency at the edge",
            "How long answers took, as the edge saw it; streams not among them while they last.",
            quantiles("envoy_http_downstream_rq_time", EDGE),
            Unit.MILLISECONDS,
        ),
        Panel(
            "RPCs by service",
            "Calls that ended in each service, those between services too. Answers of the edge's "
            "cache are not here.",
            (
                Query(
                    rate("grpc_server_handled_total", "grpc_service", 'grpc_service=~"marquee.*"'),
                    "{{grpc_service}}",
                ),
            ),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
    ),
)

_RATINGS: Final = Row(
    "The way of a rating: log → database → outbox → chart",
    (
        Panel(
            "Ratings by step",
            "All four lines are the same while nothing is held up. One that is below the one before "
            "it: look there.",
            (
                Query(rate("marquee_rating_submitted_total"), "1 submitted"),
                Query(rate("marquee_rating_worker_changes_total"), "2 stored (changes of a score)"),
                Query(rate("marquee_rating_relay_published_total"), "3 handed on"),
                Query(rate("marquee_ranking_events_total", labels='outcome="applied"'), "4 counted"),
            ),
            Unit.PER_SECOND,
        ),
        Panel(
            "What waits",
            "Messages of each topic that its reader has not stored, and changes in the outbox.",
            (
                Query(
                    "sum by (reader, topic) (max by (reader, topic, partition) "
                    "(marquee_kafka_consumer_lag_messages))",
                    "{{reader}}: {{topic}}",
                ),
                Query("max(marquee_rating_outbox_pending)", "outbox of rating_svc"),
            ),
        ),
        Panel(
            "Rating → chart",
            "From a submission to its being counted.",
            quantiles(FRESHNESS),
            Unit.SECONDS,
            steps=((2.5, "warning"),),
        ),
    ),
)

PAGE: Final = Dashboard(
    "overview",
    "Overview",
    "Is Marquee well? If not, what is wrong and where to look.",
    (_NOW, _WRONG, _CALLS, _RATINGS),
)
