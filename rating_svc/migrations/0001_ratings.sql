-- marquee: known as e679f15c4955e3375e63b95bf5709a274d4155efc917bf88f6f6037017d0e577, now bf14d6bc0c3db33113a55e6e5353b47a1d0612b17d1d40ac3dd3d9d04d09c848
-- Everything of a user lies together: user_id stands first in every key and in every query of `ratings`
-- and `seen_requests`. Several databases may each have some of the users (docs/decisions/0036).
CREATE TABLE ratings (
    user_id text COLLATE "C" NOT NULL,
    movie_id int NOT NULL,
    score smallint CHECK (score BETWEEN 1 AND 10),
    create_time timestamptz,
    update_time timestamptz NOT NULL,
    log_epoch smallint NOT NULL,
    log_offset bigint NOT NULL,
    PRIMARY KEY (user_id, movie_id)
) PARTITION BY HASH (user_id);
DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE ratings_%s PARTITION OF ratings FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            lpad(i::text, 2, '0'),
            i
        );
    END LOOP;
END
$$;

COMMENT ON COLUMN ratings.score IS 'NULL: taken back; the row stays for its place in the log''s order';
COMMENT ON COLUMN ratings.create_time IS 'NULL: never rated, only taken back';
COMMENT ON COLUMN ratings.log_offset IS 'up to where the log was dealt with for this rating; later wins';

-- ListRatings.
CREATE INDEX ratings_by_time ON ratings (user_id, update_time DESC, movie_id DESC) WHERE score IS NOT NULL;
-- StreamTotals: grouped by walking the index, with no sort and nothing held in memory.
CREATE INDEX ratings_by_movie ON ratings (movie_id, score) WHERE score IS NOT NULL;
-- Pruning.
CREATE INDEX ratings_taken_back ON ratings (update_time) WHERE score IS NULL;

-- Submissions that have taken effect. One request_id with another movie or score is another
-- submission: a rating that was answered with OK is never dropped for a client's reuse of an id.
CREATE TABLE seen_requests (
    user_id text COLLATE "C" NOT NULL,
    request_id uuid NOT NULL,
    movie_id int NOT NULL,
    score smallint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, request_id, movie_id, score)
);
COMMENT ON COLUMN seen_requests.score IS '0: taken back';
CREATE INDEX seen_requests_by_age ON seen_requests (seen_at);

-- Changes that were committed and not published yet. Rows live for milliseconds.
CREATE TABLE outbox (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    movie_id int NOT NULL,
    old_score smallint,
    new_score smallint,
    submit_time timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
