-- When aggregates were last compared with a recount, and what that found.
CREATE TABLE verification (
    only_row bool PRIMARY KEY DEFAULT true CHECK (only_row),
    finished_at timestamptz NOT NULL,
    compared int NOT NULL,
    differing int NOT NULL,
    repaired int NOT NULL
);
