-- What is known of each title, ready to be served, and what it is found by.
CREATE TABLE movies (
    id int PRIMARY KEY,
    movie bytea NOT NULL,
    etag text NOT NULL,
    source smallint NOT NULL,
    fetch_time timestamptz NOT NULL,
    fresh_until timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    type smallint NOT NULL,
    title text NOT NULL,
    title_key text COLLATE "C" NOT NULL,
    words tsvector NOT NULL,
    year smallint NOT NULL,
    votes int NOT NULL,
    box_office int,
    genres text[] NOT NULL
);
COMMENT ON COLUMN movies.movie IS 'marquee.movies.v1.Movie, serialized: goes out as it is';
COMMENT ON COLUMN movies.source IS 'marquee.movies.v1.Source: 1 is OMDb''s full answer, others are partial';
COMMENT ON COLUMN movies.title_key IS 'lower case, no accents, article behind: what titles are compared by';
COMMENT ON COLUMN movies.year IS '0: not known';
COMMENT ON COLUMN movies.votes IS 'IMDb''s; -1: not known';
COMMENT ON COLUMN movies.genres IS 'lower case';

-- One index for each order that titles are listed in; the id makes pages unambiguous.
CREATE INDEX movies_by_votes ON movies (votes, id);
CREATE INDEX movies_by_year ON movies (year, id);
CREATE INDEX movies_by_title ON movies (title_key, id);
-- And one for each filter that may leave few.
CREATE INDEX movies_of_genre ON movies USING gin (genres);
CREATE INDEX movies_with_words ON movies USING gin (words);
CREATE INDEX movies_due ON movies (fresh_until);

-- OMDb's own words, so that a better reader loses nothing.
CREATE TABLE answers (
    id int PRIMARY KEY REFERENCES movies ON DELETE CASCADE,
    body bytea NOT NULL,
    fetch_time timestamptz NOT NULL
);
COMMENT ON COLUMN answers.body IS 'zlib: OMDb''s body, byte for byte';

CREATE TABLE full_plots (
    id int PRIMARY KEY,
    plot text,
    fresh_until timestamptz NOT NULL
);
COMMENT ON COLUMN full_plots.plot IS 'NULL: OMDb has none';

-- Ids that OMDb says are no titles. Never one that is in `movies`.
CREATE TABLE absent (
    id int PRIMARY KEY,
    reason text NOT NULL,
    fetch_time timestamptz NOT NULL,
    fresh_until timestamptz NOT NULL
);

-- What OMDb answered to look-ups by title that found nothing here.
CREATE TABLE lookups (
    title_key text COLLATE "C" NOT NULL,
    year smallint NOT NULL,
    type smallint NOT NULL,
    movie_id int,
    fresh_until timestamptz NOT NULL,
    PRIMARY KEY (title_key, year, type)
);
COMMENT ON COLUMN lookups.movie_id IS 'NULL: OMDb has no such title';

-- Pages of OMDb's searches.
CREATE TABLE searches (
    query text COLLATE "C" NOT NULL,
    year smallint NOT NULL,
    type smallint NOT NULL,
    page smallint NOT NULL,
    total int NOT NULL,
    movie_ids int[] NOT NULL,
    fresh_until timestamptz NOT NULL,
    PRIMARY KEY (query, year, type, page)
);

-- Events that wait for Kafka, written with what they tell of.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    movie_id int NOT NULL,
    event bytea NOT NULL
);

-- How far each file has been imported.
CREATE TABLE imports (
    file text PRIMARY KEY,
    lines bigint NOT NULL,
    update_time timestamptz NOT NULL
);
