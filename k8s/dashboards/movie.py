"""What movie_svc has for itself."""

from typing import Final

from k8s.dashboards.model import Kind, Panel, Query, Row, Unit, moving, quantiles, rate, share

_LAYERS: Final = Row(
    "Where movies come from: memory → Redis → PostgreSQL → OMDb",
    (
        Panel(
            "Look-ups by layer",
            "l1 misses rise: Redis lost its connection, or more titles are in use than the memory "
            "holds. omdb misses "
            "rise: unknown ids are being tried out.",
            (Query(moving("marquee_movie_cache_total", "layer, outcome"), "{{layer}} {{outcome}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Found in memory",
            "The share of look-ups that the process answers itself.",
            (
                Query(
                    share(
                        rate("marquee_movie_cache_total", labels='layer="l1",outcome="hit"'),
                        rate("marquee_movie_cache_total", labels='layer="l1"'),
                    ),
                    "l1",
                ),
            ),
            Unit.SHARE,
        ),
        Panel(
            "Memory of the cache",
            "Bytes of titles in each process.",
            (Query("max by (instance) (marquee_movie_l1_bytes)", "{{instance}}"),),
            Unit.BYTES,
        ),
        Panel(
            "Told of changes",
            "1 while Redis tells each process what has changed; 0: it keeps titles for seconds only.",
            (Query("min by (instance) (marquee_movie_l1_tracking)", "{{instance}}"),),
        ),
    ),
)

_OMDB: Final = Row(
    "OMDb",
    (
        Panel(
            "Breaker",
            "0: OMDb is asked. 1: it is being tried. 2: it is not asked; known titles are still served.",
            (Query("max(marquee_omdb_breaker_state)"),),
            kind=Kind.STAT,
            steps=((1, "warning"), (2, "bad")),
        ),
        Panel(
            "Quota used today",
            "Of the calls that all replicas may make until midnight UTC.",
            (Query("max(marquee_omdb_quota_used) / max(marquee_omdb_quota_limit)"),),
            Unit.SHARE,
            Kind.STAT,
            steps=((0.8, "warning"), (0.95, "bad")),
        ),
        Panel(
            "Calls by outcome",
            "limited: the daily quota is used up. bad_key: mend OMDB_API_KEY. captcha: this address "
            "is blocked.",
            (Query(moving("marquee_omdb_calls_total", "kind, outcome"), "{{kind}} {{outcome}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Duration of a call", "One attempt at OMDb.", quantiles("marquee_omdb_call_seconds"), Unit.SECONDS
        ),
    ),
    height=7,
)

_EVENTS: Final = Row(
    "What it tells others",
    (
        Panel(
            "Events handed on",
            "Changes of movies that were put into the topic.",
            (Query(rate("marquee_movie_relay_published_total"), "movies.changed"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Outbox",
            "Events that wait for Kafka. Grows for minutes: Kafka or the relay is away.",
            (Query("max(marquee_movie_outbox_events)", "events"),),
        ),
        Panel(
            "Reads asked twice",
            "Reads for which the primary was asked too since a replica took too long. Growth: a "
            "replica hangs.",
            (Query(rate("marquee_movie_hedged_reads_total"), "hedged"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Not stored",
            "Answers of OMDb that were served and could not be stored: the primary was away.",
            (Query(rate("marquee_movie_unsaved_total"), "unsaved"),),
            Unit.PER_SECOND,
        ),
    ),
    height=6,
)

ROWS: Final = (_LAYERS, _OMDB, _EVENTS)
