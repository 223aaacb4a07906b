-- The ten counts are the aggregate; votes and total follow from them and can't disagree with them.
-- A count may be below zero for as long as two changes of one rating have come in the wrong order.
CREATE TABLE scores (
    movie int PRIMARY KEY,
    h1 int NOT NULL DEFAULT 0,
    h2 int NOT NULL DEFAULT 0,
    h3 int NOT NULL DEFAULT 0,
    h4 int NOT NULL DEFAULT 0,
    h5 int NOT NULL DEFAULT 0,
    h6 int NOT NULL DEFAULT 0,
    h7 int NOT NULL DEFAULT 0,
    h8 int NOT NULL DEFAULT 0,
    h9 int NOT NULL DEFAULT 0,
    h10 int NOT NULL DEFAULT 0,
    votes int NOT NULL GENERATED ALWAYS AS (h1 + h2 + h3 + h4 + h5 + h6 + h7 + h8 + h9 + h10) STORED,
    total bigint NOT NULL GENERATED ALWAYS AS (
        h1 + 2::bigint * h2 + 3::bigint * h3 + 4::bigint * h4 + 5::bigint * h5
        + 6::bigint * h6 + 7::bigint * h7 + 8::bigint * h8 + 9::bigint * h9 + 10::bigint * h10
    ) STORED,
    -- log2 of the votes' weights: see ranking_svc/trending.py.
    heat_day float8 NOT NULL DEFAULT '-Infinity',
    heat_week float8 NOT NULL DEFAULT '-Infinity',
    heat_month float8 NOT NULL DEFAULT '-Infinity',
    update_time timestamptz NOT NULL DEFAULT now(),
    -- Which transaction changed the row last: readers ask for what has changed since their snapshot.
    changed xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX scores_changed ON scores (changed);

-- Events that were taken into the aggregates. Pruned from its oldest end.
CREATE TABLE inbox (
    event_id bigint PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0.05);

-- What charts show of movies; a copy of what movie_svc says.
CREATE TABLE facts (
    movie int PRIMARY KEY,
    title text NOT NULL,
    year int,
    type smallint NOT NULL,
    genres text[] NOT NULL,
    box_office_usd int,
    -- When movie_svc stored it; what was asked for by gRPC gives way to any event.
    change_time timestamptz NOT NULL,
    changed xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX facts_changed ON facts (changed);
CREATE INDEX facts_box_office ON facts (movie) WHERE box_office_usd IS NOT NULL;

-- Rated movies whose facts must be asked for.
CREATE TABLE fact_requests (
    movie int PRIMARY KEY,
    attempts int NOT NULL DEFAULT 0,
    next_try timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fact_requests_next_try ON fact_requests (next_try);

-- The one formula in force: m as configured and C as measured by the last rebuild.
CREATE TABLE formula (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL,
    prior_votes float8 NOT NULL,
    prior_mean float8 NOT NULL,
    votes bigint NOT NULL,
    built_at timestamptz NOT NULL
);

-- log2(2^a + 2^b). The bound keeps power() from an underflow error.
CREATE FUNCTION log2_plus(a float8, b float8) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN a = '-Infinity' THEN b
    WHEN b = '-Infinity' THEN a
    ELSE greatest(a, b) + ln(1 + power(2::float8, greatest(least(a, b) - greatest(a, b), -1000))) / ln(2::float8)
END;

-- log2(2^a - 2^b), nothing left if b is as much as a but for rounding.
CREATE FUNCTION log2_minus(a float8, b float8) RETURNS float8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN b = '-Infinity' THEN a
    WHEN b >= a - 1e-9 THEN '-Infinity'
    ELSE a + ln(1 - power(2::float8, greatest(b - a, -1000))) / ln(2::float8)
END;
