-- What OMDb may still be asked today, of all replicas: PostgreSQL counts, and its clock says which day it is.
-- Redis may be lost or restarted any time; a count that must not be forgotten does not belong there.
CREATE TABLE omdb_calls (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    day date NOT NULL,
    used int NOT NULL,
    tokens float8 NOT NULL,
    filled_at timestamptz NOT NULL
);
COMMENT ON COLUMN omdb_calls.day IS 'UTC';
COMMENT ON COLUMN omdb_calls.used IS 'calls of that day, among them those that replicas hold in reserve';
COMMENT ON COLUMN omdb_calls.tokens IS 'of the bucket that holds the rate, at filled_at';
INSERT INTO omdb_calls (day, used, tokens, filled_at) VALUES ('-infinity', 0, 'infinity', '-infinity');
