"""All drills. `marquee drill`, docs/operations/drills.md and tests/drills come from this table."""

from typing import Final

from local.drills import services, stores, traffic
from local.drills.model import Drill, nothing

DRILLS: Final = (
    Drill(
        "slow-omdb",
        "OMDb takes ten seconds for each answer",
        "titles that nobody has asked for before are answered with 503; known ones as always",
        "MarqueeBreakerOpen",
        services.slow_omdb,
        services.quick_omdb,
        traffic=traffic.unknown_titles,
        needs=("omdb", "postgres"),
    ),
    Drill(
        "omdb-quota",
        "all of today's calls to OMDb are used",
        "titles that nobody has asked for before are answered with 503; known ones as always",
        "MarqueeQuotaNearlyUsed",
        services.use_quota,
        services.restore_quota,
        traffic=traffic.unknown_titles,
        needs=("omdb", "postgres"),
    ),
    Drill(
        "poison-message",
        "the log of ratings holds a message that nobody can read",
        "nothing: it is set aside, and blocks nobody",
        "MarqueeDeadLetters",
        stores.send_poison,
        services.bury_poison,
        needs=("kafka", services.WORKER),
    ),
    Drill(
        "worker-crash-loop",
        "the worker that stores ratings is killed again and again",
        "others see a rating some seconds later; its author at once",
        "MarqueeCrashLoop",
        nothing,
        nothing,
        breaking=services.crash_worker,
        needs=(services.WORKER,),
    ),
    Drill(
        "slow-query",
        "a query of movie_svc's role does not end, and keeps its transaction open",
        "nothing at first; after hours, tables have grown",
        "MarqueeLongTransaction",
        nothing,
        stores.end_slow_query,
        breaking=stores.query_slowly,
        needs=("postgres", services.MOVIES),
    ),
    Drill(
        "cache-stampede",
        "caches lose each title just before many users ask for it at once",
        "answers take somewhat longer: one look-up in PostgreSQL serves all who ask at the same time",
        "MarqueeCacheCold",
        nothing,
        nothing,
        breaking=stores.forget_titles,
        needs=("redis", "postgres", services.MOVIES),
    ),
    Drill(
        "bad-canary",
        "a new release of movie_svc fails every single movie, and is delivered",
        "one in a hundred users sees errors for some seconds, until it is rolled back",
        "MarqueeCanaryRolledBack",
        services.start_bad_release,
        services.stop_bad_release,
        traffic=traffic.known_titles,
        needs=(services.MOVIES, "edge-controller"),
    ),
    Drill(
        "replica-lag",
        "PostgreSQL's replica applies nothing of what it receives",
        "nothing: reads go to the primary",
        "MarqueeReplicaLag",
        stores.hold_replay,
        stores.go_on_replaying,
        breaking=stores.write_on,
        needs=("postgres", "postgres-replica"),
    ),
    Drill(
        "primary-lost",
        "PostgreSQL's primary hangs",
        "reads go on; ratings are taken, and counted once it is back",
        "MarqueePrimaryDown",
        *stores.lost("postgres"),
        needs=("postgres",),
    ),
    Drill(
        "broker-lost",
        "Kafka's broker hangs",
        "ratings are refused with 503 and Retry-After; reads go on",
        "MarqueeKafkaDown",
        *stores.lost("kafka"),
        needs=("kafka",),
    ),
    Drill(
        "redis-lost",
        "Redis hangs",
        "nothing but somewhat slower answers; authors with several devices may see a rating later",
        "MarqueeDependencyDown",
        *stores.lost("redis"),
        needs=("redis",),
    ),
    Drill(
        "old-certificate",
        "movie_svc's certificate ends within a day",
        "nothing yet; from its end on, every call for movies would fail",
        "MarqueeCertificateNearlyExpired",
        services.age_certificate,
        services.renew_certificate,
        needs=(services.MOVIES,),
    ),
)


def named(name: str) -> Drill | None:
    """The drill of that name; None if there is none."""
    return next((drill for drill in DRILLS if drill.name == name), None)
