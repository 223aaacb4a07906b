CREATE TABLE watchlist (
    user_id  text NOT NULL,
    movie_id integer NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, movie_id)
);
