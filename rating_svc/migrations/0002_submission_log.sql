-- Which topic each epoch of the log is. Offsets order submissions only within one life of the topic:
-- a worker that finds another topic than this under its epoch stops (docs/decisions/0012).
CREATE TABLE submission_log (
    epoch smallint PRIMARY KEY,
    topic_id text NOT NULL,
    partitions int NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now()
);
