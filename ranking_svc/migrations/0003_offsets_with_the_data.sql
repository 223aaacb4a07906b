-- How far topics were read, and which messages were set aside: as mesh.kafka declares them.
CREATE TABLE kafka_offsets (
    reader text NOT NULL,
    topic_id text NOT NULL,
    partition int NOT NULL,
    topic text NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    fingerprint bigint,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, topic_id, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE kafka_offsets IS 'how far the log was read, written in the transaction of what was read';
COMMENT ON COLUMN kafka_offsets.topic_id IS 'the brokers'' own: another one after the topic was made again';
COMMENT ON COLUMN kafka_offsets.first_offset IS 'where the last transaction began';
COMMENT ON COLUMN kafka_offsets.fingerprint IS 'of the message before next_offset; NULL: none was read';

CREATE TABLE dead_letters (
    reader text NOT NULL,
    topic_id text NOT NULL,
    partition int NOT NULL,
    log_offset bigint NOT NULL,
    reason text NOT NULL,
    buried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (reader, topic_id, partition, log_offset)
);
CREATE INDEX dead_letters_by_age ON dead_letters (buried_at);
COMMENT ON TABLE dead_letters IS 'which messages were set aside: each counts once against the limit';
