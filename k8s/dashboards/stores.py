"""Kafka, PostgreSQL and Redis, as the services see them, and Redis as it sees itself."""

from typing import Final

from k8s.dashboards.model import Dashboard, Kind, Panel, Query, Row, Unit, moving

_NOW: Final = Row(
    "Is it well?",
    (
        Panel(
            "PostgreSQL's primaries",
            "1: all answer. 0: where one does not, reads go on from replicas, and ratings wait in Kafka.",
            (Query("min(max by (server) (marquee_postgres_primary_up))"),),
            kind=Kind.STAT,
        ),
        Panel(
            "Kafka's brokers",
            "Known to the services.",
            (Query("max(marquee_kafka_brokers)"),),
            kind=Kind.STAT,
        ),
        Panel(
            "Partitions without a leader",
            "Users whose ratings belong there get 503.",
            (Query("max(marquee_kafka_offline_partitions)"),),
            kind=Kind.STAT,
            steps=((1, "bad"),),
        ),
        Panel(
            "Partitions that lack a copy",
            "The loss of one more broker would stop writes.",
            (Query("max(marquee_kafka_under_replicated_partitions)"),),
            kind=Kind.STAT,
            steps=((1, "warning"),),
        ),
        Panel(
            "Processes that don't reach Redis",
            "Reads come from memory and PostgreSQL then.",
            (Query('count(marquee_dependency_up{dependency="redis"} == 0) or vector(0)'),),
            kind=Kind.STAT,
            steps=((1, "warning"),),
        ),
        Panel(
            "Readers that stopped",
            "Too many dead letters: a reader stays stopped until it is restarted.",
            (Query("sum(marquee_reader_stopped)"),),
            kind=Kind.STAT,
            steps=((1, "bad"),),
        ),
    ),
    height=4,
)

_KAFKA: Final = Row(
    "Kafka",
    (
        Panel(
            "Behind, in messages",
            "What stands in each topic and is not stored, measured from the log's end.",
            (
                Query(
                    "sum by (reader, topic) (max by (reader, topic, partition) "
                    "(marquee_kafka_consumer_lag_messages))",
                    "{{reader}}: {{topic}}",
                ),
            ),
        ),
        Panel(
            "Behind, in time",
            "How long the oldest message that is not stored has waited.",
            (Query("max by (reader, topic) (marquee_kafka_consumer_lag_seconds)", "{{reader}}: {{topic}}"),),
            Unit.SECONDS,
            steps=((60, "bad"),),
        ),
        Panel(
            "Written",
            "Messages by topic and by what became of them.",
            (Query(moving("marquee_kafka_produced_total", "topic, outcome"), "{{topic}} {{outcome}}"),),
            Unit.PER_SECOND,
            Kind.STACKED,
        ),
        Panel(
            "Under way to Kafka",
            "Messages that wait for their acknowledgement.",
            (Query("sum by (job) (marquee_kafka_producer_in_flight)", "{{job}}"),),
        ),
    ),
)

_LETTERS: Final = Row(
    "What readers could not do",
    (
        Panel(
            "Tried again",
            "Parts of batches that were tried again since a store was away.",
            (Query(moving("marquee_reader_retries_total", "reader, part"), "{{reader}} {{part}}"),),
            Unit.PER_SECOND,
            quiet=True,
        ),
        Panel(
            "Dead letters waiting",
            "Messages that could not be processed, with their reasons: `marquee dlq list`.",
            (Query("max by (topic) (marquee_dead_letters_waiting)", "{{topic}}"),),
        ),
        Panel(
            "Deleted unread",
            "Messages older than the topic keeps them: acknowledged data that is lost.",
            (Query("sum by (reader, topic) (marquee_reader_expired_total)", "{{reader}}: {{topic}}"),),
            quiet=True,
        ),
    ),
    height=6,
)

_POSTGRES: Final = Row(
    "PostgreSQL",
    (
        Panel(
            "Replicas behind",
            "A replica gets no reads beyond MARQUEE_PG_MAX_LAG_S.",
            (Query("max by (replica) (marquee_postgres_replica_lag_seconds) >= 0", "{{replica}}"),),
            Unit.SECONDS,
        ),
        Panel(
            "Connections in use",
            "Of MARQUEE_PG_POOL in each process.",
            (
                Query(
                    'sum by (job, server) (marquee_postgres_pool_connections{state="used"})',
                    "{{job}} {{server}}",
                ),
            ),
        ),
        Panel(
            "Calls that wait for a connection",
            "Above 0 for minutes: the pool is too small, or the database too slow.",
            (Query("sum by (job, server) (marquee_postgres_pool_waiting)", "{{job}} {{server}}"),),
            steps=((1, "warning"),),
        ),
        Panel(
            "Longest transaction",
            "What it could still see can't be cleaned up.",
            (Query("max by (job) (marquee_postgres_longest_transaction_seconds)", "{{job}}"),),
            Unit.SECONDS,
            steps=((300, "bad"),),
        ),
    ),
)

_REDIS: Final = Row(
    "Redis",
    (
        Panel(
            "Redis' memory",
            "Near its maximum, cached titles are pushed out: give it more.",
            (
                Query("sum by (instance) (redis_memory_used_bytes)", "{{instance}}"),
                Query("sum by (instance) (redis_memory_max_bytes > 0)", "{{instance}}: at most"),
            ),
            Unit.BYTES,
        ),
        Panel(
            "Redis' commands",
            "Done by each server. None: nobody reaches it.",
            (Query(moving("redis_commands_processed_total", "instance"), "{{instance}}"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Pushed out for lack of room",
            "Keys a second. All the time: give Redis more memory.",
            (Query(moving("redis_evicted_keys_total", "instance"), "{{instance}}"),),
            Unit.PER_SECOND,
            quiet=True,
        ),
        Panel(
            "Connections to Redis",
            "Those of all processes. Climbs without falling: something does not close them.",
            (Query("sum by (instance) (redis_connected_clients)", "{{instance}}"),),
        ),
    ),
    height=6,
)

PAGE: Final = Dashboard(
    "stores",
    "Kafka and databases",
    "The stores, as the services see them.",
    (_NOW, _KAFKA, _LETTERS, _POSTGRES, _REDIS),
)
