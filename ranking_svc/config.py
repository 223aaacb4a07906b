"""What of ranking_svc can be configured, and its defaults with their reasons."""

from dataclasses import dataclass

from mesh.config import ConfigError, setting


@dataclass(frozen=True)
class FormulaConfig:
    """The weighted score and when its prior is measured again."""

    prior_votes: float = setting(
        "MARQUEE_RANKING_PRIOR_VOTES",
        20.0,
        "m of the weighted score: how many votes the mean of all weighs; of two releases, that of the newer "
        "one counts",
        low=0.1,
        high=1e6,
    )
    variants: str = setting(
        "MARQUEE_RANKING_VARIANTS",
        "",
        "other m's for the experiment ranking-formula, such as few-votes=5,many-votes=100; each takes the "
        "memory of one more chart",
    )
    rebuild_interval_s: float = setting(
        "MARQUEE_RANKING_REBUILD_INTERVAL_S",
        3600.0,
        "after how long C is measured again and the charts are rebuilt, in seconds",
        low=1,
    )
    rebuild_growth: float = setting(
        "MARQUEE_RANKING_REBUILD_GROWTH",
        0.25,
        "by what fraction the number of votes may grow or shrink before C is measured early",
        low=0.001,
    )
    rebuild_check_s: float = setting(
        "MARQUEE_RANKING_REBUILD_CHECK_S",
        10.0,
        "how often is looked whether a rebuild is due, in seconds",
        low=0.1,
    )

    @property
    def prior_votes_by_variant(self) -> dict[str, float]:
        """`variants`, read.

        Raises:
            ConfigError: it is not NAME=NUMBER,…
        """
        try:
            pairs = (each.split("=") for each in self.variants.split(",") if each)
            found = {name.strip(): float(votes) for name, votes in pairs}
        except ValueError:
            found = {"": 0.0}
        if any(not name or not 0.1 <= votes <= 1e6 for name, votes in found.items()):
            raise ConfigError(
                f"MARQUEE_RANKING_VARIANTS can't be {self.variants!r}: give NAME=VOTES,… "
                "with votes from 0.1 to 1e6"
            )
        return found


@dataclass(frozen=True)
class ChartConfig:
    """How charts are kept and answered."""

    poll_interval_s: float = setting(
        "MARQUEE_RANKING_POLL_S",
        0.5,
        "how often changes are asked for when no nudge comes, in seconds: the freshness without Redis",
        low=0.05,
        high=60,
    )
    min_gap_s: float = setting(
        "MARQUEE_RANKING_MIN_GAP_S",
        0.1,
        "how long changes are gathered before they are asked for again, in seconds",
        low=0.0,
        high=60,
    )
    compare_rate: float = setting(
        "MARQUEE_RANKING_COMPARE_RATE",
        100.0,
        "how many movies of the charts in memory are compared with the database a second, round and round",
        low=1,
    )
    catch_up_rate: float = setting(
        "MARQUEE_RANKING_CATCH_UP_RATE",
        5000.0,
        "the same after the database failed over or was restored, until all have been compared once",
        low=1,
    )
    max_age_s: int = setting(
        "MARQUEE_RANKING_MAX_AGE_S",
        1,
        "how long the edge may keep an answer, in seconds (cache-control: max-age)",
        low=0,
        high=3600,
    )
    cached_pages: int = setting(
        "MARQUEE_RANKING_CACHED_PAGES", 1000, "ready pages kept in memory, at most", low=1, high=100_000
    )
    max_watchers: int = setting(
        "MARQUEE_RANKING_MAX_WATCHERS", 10_000, "WatchScore streams of this process, at most", low=1
    )
    watch_gap_s: float = setting(
        "MARQUEE_RANKING_WATCH_GAP_S",
        0.25,
        "the least time between two messages of one WatchScore stream, in seconds",
        low=0.2,
        high=60,
    )
    watch_limit_s: float = setting(
        "MARQUEE_RANKING_WATCH_LIMIT_S",
        240.0,
        "after how long a WatchScore stream is ended, in seconds; less than MARQUEE_MAX_CONNECTION_AGE_S, "
        "which would break it off",
        low=1,
    )


@dataclass(frozen=True)
class ConsumerConfig:
    """How changes are taken into the aggregates."""

    batch: int = setting(
        "MARQUEE_RANKING_BATCH", 1000, "events in one transaction, at most", low=1, high=50_000
    )
    dead_limit: int = setting(
        "MARQUEE_RANKING_DEAD_LIMIT",
        100,
        "dead letters within MARQUEE_RANKING_DEAD_WINDOW_S after which the consumer stops",
        low=1,
    )
    dead_window_s: float = setting(
        "MARQUEE_RANKING_DEAD_WINDOW_S", 600.0, "over how long dead letters are counted, in seconds", low=1
    )


@dataclass(frozen=True)
class PeersConfig:
    """The services that are called."""

    movie_svc: str = setting("MARQUEE_MOVIE_SVC", help="the gRPC target of movie_svc")
    rating_svc: str = setting("MARQUEE_RATING_SVC", help="the gRPC target of rating_svc")
