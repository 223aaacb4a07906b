-- Of two copies of a row, which is newer. `changed` does not say it: of two transactions that change one
-- row, the older one may come second. A release that does not know the column leaves it as it is.
ALTER TABLE scores ADD COLUMN version bigint NOT NULL DEFAULT 0;
ALTER TABLE facts ADD COLUMN version bigint NOT NULL DEFAULT 0;

-- Since when this database has been the one that is written to. After a failover, or when a backup was
-- restored, transaction ids begin again from lower ones, and rows that were read before may never have
-- been: whoever finds another life here compares all that it holds.
CREATE TABLE life (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    system_id bigint NOT NULL,
    timeline int NOT NULL
);
COMMENT ON COLUMN life.since IS 'also its name: later ones are greater';
INSERT INTO life (system_id, timeline)
SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
FROM pg_control_system();

-- What processes that are alive have for m, and since when: of two releases, that of the newer one counts.
CREATE TABLE formula_settings (
    prior_votes float8 PRIMARY KEY,
    declared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    alive_until timestamptz NOT NULL
);
COMMENT ON COLUMN formula_settings.declared_at IS 'when the first process with it came, of those alive';

-- Pruned by age: ids say nothing about it.
CREATE INDEX inbox_by_age ON inbox (taken_at);

-- Up to where the log of ratings stands in an aggregate that was set to a recount: for each partition of
-- each life of that log, the id of the last event that is in it, whether it has come here or not.
CREATE TABLE repaired (
    movie int PRIMARY KEY,
    basis bigint[] NOT NULL,
    repaired_at timestamptz NOT NULL DEFAULT now()
);

-- A dead letter may be sent again long after its id was forgotten otherwise.
ALTER TABLE inbox ADD COLUMN redriven bool NOT NULL DEFAULT false;
