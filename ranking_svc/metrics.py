"""Every metric of ranking_svc, each with what to do when it moves."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from mesh.metrics import Group

SERVE: Final = Group()
CONSUMER: Final = Group()

EVENTS: Final = Counter(
    "marquee_ranking_events_total",
    "Rating changes stored, by outcome: applied, duplicate (read before: after rebalances and restarts).",
    ("outcome",),
    registry=CONSUMER,
)
BATCH: Final = Histogram(
    "marquee_ranking_batch_events",
    "Rating changes in one transaction. At MARQUEE_RANKING_BATCH most of the time: "
    "the consumer is behind; add replicas, up to the topic's partitions.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
    registry=CONSUMER,
)
LAG: Final = Histogram(
    "marquee_ranking_submit_to_aggregate_seconds",
    "From a user's submission to its being counted, in seconds. "
    "Over seconds: look at the outbox's age in rating_svc, then at the consumer's lag.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
    registry=CONSUMER,
)
FACTS: Final = Counter(
    "marquee_ranking_facts_total",
    "Movies' facts by where they came from: event, asked (movie_svc by gRPC), missing (movie_svc has none), "
    "unusable (an answer that can't be kept).",
    ("source",),
    registry=CONSUMER,
)
CHART_MOVIES: Final = Gauge(
    "marquee_ranking_chart_movies", "Movies that stand in each chart.", ("chart",), registry=SERVE
)
PRUNED: Final = Counter(
    "marquee_ranking_pruned_total",
    "Rows deleted because of their age, by table.",
    ("table",),
    registry=CONSUMER,
)
CHART_AGE: Final = Gauge(
    "marquee_ranking_chart_age_seconds",
    "Since when no look into the database for changes has succeeded, in seconds. "
    "Over ten: charts are served as they were then; look at the database.",
    registry=SERVE,
)
CHART_CHANGES: Final = Counter(
    "marquee_ranking_chart_changes_total",
    "Changes of movies that were taken into the charts in memory.",
    registry=SERVE,
)
REBUILD_SECONDS: Final = Histogram(
    "marquee_ranking_rebuild_seconds",
    "How long loading and sorting all charts took, in seconds; calls are answered meanwhile.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=SERVE,
)
LAST_REBUILD: Final = Gauge(
    "marquee_ranking_last_rebuild_timestamp_seconds",
    "When the formula in force was measured, in seconds since 1970, as this server last saw; 0 if never. "
    "Hours ago: no server rebuilds; see their logs for the database.",
    registry=SERVE,
)
LAST_VERIFY: Final = Gauge(
    "marquee_ranking_last_verify_timestamp_seconds",
    "When aggregates were last compared with a recount, in seconds since 1970; 0 if never. Over a week ago: "
    "run `marquee verify`.",
    registry=SERVE,
)
VERIFY_LEFT: Final = Gauge(
    "marquee_ranking_last_verify_mismatches",
    "Movies that differed when aggregates were last compared, and were not repaired. Above zero: "
    "`marquee verify --repair`, and find out what was lost.",
    registry=SERVE,
)
GENERATION: Final = Gauge(
    "marquee_ranking_formula_generation",
    "Which rebuild the charts in memory are of. Differs between servers for more than a few seconds: "
    "one can't load; look at its log.",
    registry=SERVE,
)
PRIOR_MEAN: Final = Gauge("marquee_ranking_prior_mean", "C of the formula in force.", registry=SERVE)
PAGES: Final = Counter(
    "marquee_ranking_pages_total",
    "Pages answered, by where they came from: ready or built.",
    ("source",),
    registry=SERVE,
)
WATCHERS: Final = Gauge("marquee_ranking_watchers", "WatchScore streams under way.", registry=SERVE)
NUDGES: Final = Counter(
    "marquee_ranking_nudges_total",
    "Nudges that came by Redis. Zero while ratings come in: charts are as fresh as the polling interval.",
    registry=SERVE,
)
MISMATCHES: Final = Counter(
    "marquee_ranking_mismatches_total",
    "Movies whose aggregate was not what a recount says, by what became of them: reported, repaired, "
    "unsettled (changed while being compared; ask again). Above zero: events were lost or counted twice.",
    ("outcome",),
    registry=SERVE,
)
EXPOSURES: Final = Counter(
    "marquee_experiment_exposures_total",
    "Answers made under a variant of an experiment. Those that the edge had in its cache are counted there: "
    "envoy_experiment_exposures.",
    ("experiment", "variant"),
    registry=SERVE,
)
