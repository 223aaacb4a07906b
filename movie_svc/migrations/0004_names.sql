-- Indexes of a large table take longer than a service's statement may.
SET LOCAL statement_timeout = '1h';

-- What a title is found by besides its `title_key`: other names, older ones, and other readings of its punctuation.
-- Nothing is ever deleted here: who knows a title by a name goes on finding it.
CREATE TABLE names (
    key text COLLATE "C" NOT NULL,
    movie_id int NOT NULL,
    title text NOT NULL,
    PRIMARY KEY (key, movie_id)
);
COMMENT ON COLUMN names.title IS 'the name as it was written: keys are made from it again when their rules change';
CREATE INDEX names_of_movie ON names (movie_id);

-- The words of all names, so that a misspelled one can be recognized. No numbers.
CREATE TABLE vocabulary (
    word text COLLATE "C" PRIMARY KEY
);

-- A name with one wrong letter has its front half or its back half right, and about as many letters: see
-- movie_svc/storing/typos.py. Neither the article nor spaces count.
CREATE INDEX movies_by_front
    ON movies (length(replace(split_part(title_key, ', ', 1), ' ', '')), replace(split_part(title_key, ', ', 1), ' ', ''));
CREATE INDEX movies_by_back
    ON movies (length(replace(split_part(title_key, ', ', 1), ' ', '')), reverse(replace(split_part(title_key, ', ', 1), ' ', '')));
CREATE INDEX names_by_front
    ON names (length(replace(split_part(key, ', ', 1), ' ', '')), replace(split_part(key, ', ', 1), ' ', ''));
CREATE INDEX names_by_back
    ON names (length(replace(split_part(key, ', ', 1), ' ', '')), reverse(replace(split_part(key, ', ', 1), ' ', '')));
CREATE INDEX vocabulary_by_front ON vocabulary (length(word), word);
CREATE INDEX vocabulary_by_back ON vocabulary (length(word), reverse(word));

-- The rules of keys have changed: rows whose keys are not yet made by the new ones, or were written since by a release
-- that does not know them. movie_svc makes them again before it serves, and now and then.
ALTER TABLE movies ADD COLUMN keyed timestamptz;
COMMENT ON COLUMN movies.keyed IS 'fetch_time of the content that title_key, words and names were made of';
CREATE INDEX movies_to_key ON movies (id) WHERE keyed IS DISTINCT FROM fetch_time;

-- A search that began before a title got another name goes on without that name, so that nothing comes twice.
ALTER TABLE movies ADD COLUMN named timestamptz, ADD COLUMN words_before tsvector;
COMMENT ON COLUMN movies.named IS 'when it got a name that it did not have when it came';
COMMENT ON COLUMN movies.words_before IS 'its words until then';
