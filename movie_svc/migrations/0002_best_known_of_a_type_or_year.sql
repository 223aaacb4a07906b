-- Types and years differ in votes: without these, a list of games, or of 1910's titles, walks past all that
-- more people know.
CREATE INDEX movies_by_type ON movies (type, votes, id);
CREATE INDEX movies_of_year ON movies (year, votes, id);
