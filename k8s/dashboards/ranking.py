"""What ranking_svc has for itself."""

from typing import Final

from k8s.dashboards.model import Kind, Panel, Query, Row, Unit, moving, quantile, quantiles, rate

_COUNTED: Final = Row(
    "Counted: topic → aggregates (consumer)",
    (
        Panel(
            "Changes by outcome",
            "duplicate: read before, after rebalances and restarts.",
            (Query(moving("marquee_ranking_events_total", "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Submission → aggregate",
            "Over seconds: look at rating_svc's outbox, then at the consumer's lag.",
            quantiles("marquee_ranking_submit_to_aggregate_seconds"),
            Unit.SECONDS,
        ),
        Panel(
            "Size of transactions, p95",
            "At MARQUEE_RANKING_BATCH most of the time: the consumer is behind.",
            (Query(quantile(0.95, "marquee_ranking_batch_events"), "changes"),),
        ),
        Panel(
            "Facts of movies",
            "Where they came from. missing: movie_svc has none. unusable: an answer that can't be kept.",
            (Query(moving("marquee_ranking_facts_total", "source"), "{{source}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
    ),
    height=7,
)

_CHARTS: Final = Row(
    "Charts in memory (server)",
    (
        Panel(
            "Age",
            "Since when no look into the database has succeeded. Over ten seconds: look at the database.",
            (Query("max by (instance) (marquee_ranking_chart_age_seconds)", "{{instance}}"),),
            Unit.SECONDS,
            steps=((10, "warning"), (30, "bad")),
        ),
        Panel(
            "Movies in each chart",
            "Grows with rated movies.",
            (Query("topk(8, max by (chart) (marquee_ranking_chart_movies))", "{{chart}}"),),
        ),
        Panel(
            "Changes taken in",
            "Movies whose place was changed in memory.",
            (Query(rate("marquee_ranking_chart_changes_total", "instance"), "{{instance}}"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Pages answered",
            "ready: from the bytes of an earlier answer; built: made for this call.",
            (Query(moving("marquee_ranking_pages_total", "source"), "{{source}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
    ),
    height=7,
)

_TRUTH: Final = Row(
    "Is it right?",
    (
        Panel(
            "Last rebuild, ago",
            "One of the servers measures the formula's mean hourly.",
            (Query("time() - max(marquee_ranking_last_rebuild_timestamp_seconds > 0)"),),
            Unit.SECONDS,
            Kind.STAT,
            steps=((3 * 3600, "warning"),),
        ),
        Panel(
            "Wrong at the last comparison",
            "Movies that differed from a recount and were not repaired: `marquee verify --repair`.",
            (Query("max(marquee_ranking_last_verify_mismatches)"),),
            kind=Kind.STAT,
            steps=((1, "bad"),),
        ),
        Panel(
            "Nudges",
            "By Redis. None while ratings come in: charts are as fresh as the polling interval.",
            (Query(rate("marquee_ranking_nudges_total"), "nudges"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Streams",
            "WatchScore streams under way.",
            (Query("sum by (instance) (marquee_ranking_watchers)", "{{instance}}"),),
        ),
    ),
    height=6,
)

ROWS: Final = (_COUNTED, _CHARTS, _TRUTH)
