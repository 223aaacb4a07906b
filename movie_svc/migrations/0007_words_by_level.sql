-- marquee: no transaction
-- A search looks at the best known titles first, and mostly needs no others (movie_svc/storing/listings.py). One
-- index of the words of all titles leads to every title that holds a frequent word.
CREATE INDEX CONCURRENTLY IF NOT EXISTS movies_with_words_0 ON movies USING gin (words) WHERE votes >= 100000;
CREATE INDEX CONCURRENTLY IF NOT EXISTS movies_with_words_1 ON movies USING gin (words) WHERE votes >= 10000 AND votes < 100000;
CREATE INDEX CONCURRENTLY IF NOT EXISTS movies_with_words_2 ON movies USING gin (words) WHERE votes >= 500 AND votes < 10000;
