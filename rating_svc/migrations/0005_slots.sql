-- Which users this database has, where there are several (docs/decisions/0036). Without rows: the first
-- database has all of them, and another one none.
CREATE TABLE slots (
    slot int PRIMARY KEY,
    total int NOT NULL CHECK (slot >= 0 AND slot < total),
    version int NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'filling', 'closed'))
);
COMMENT ON TABLE slots IS 'a user''s slot is crc32(user_id) modulo total: one partition of the log, or several';
COMMENT ON COLUMN slots.version IS 'one more than in the database that had the slot before: the highest counts';
COMMENT ON COLUMN slots.state IS 'open: its users are stored and read here; filling: stored here, read where they were; closed: moved away';
