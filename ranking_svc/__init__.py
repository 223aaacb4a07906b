"""ranking_svc: what all ratings together say.

Two roles, each a process of its own: `consumer` counts changes of ratings and
keeps what movie_svc tells of movies, `serve` answers from charts in memory,
which follow what the consumer stores.

| module | what it does | may use |
|---|---|---|
| **the ground** | | – |
| `config`, `metrics`, `topics` | settings; what is measured; topics, and how far they are read | |
| `model` | a movie's aggregate, its facts, and what a batch changes | |
| `formula`, `trending` | the weighted score; heat | |
| `basis`, `horizon` | what a repair has counted; which life of the database a row is of | |
| **the tables** | | the ground |
| `store`, `store_*` | all SQL: aggregates and facts; charts, formula, lives, verification | |
| `inbox` | for how long its rows are kept | |
| **consumer** | | those above |
| `events` | what a message says, or why it says nothing | |
| `consumer`, `facts`, `nudges` | changes of ratings; movies; telling the servers by Redis | |
| **charts** | | the tables, `nudges` |
| `chart`, `feed`, `comparing` | sorted, in memory; kept as the tables are; compared with them | |
| `rebuild`, `watch` | the mean of all, hourly; who is told of each change | |
| **serve** | | those above |
| `listing`, `wire`, `cache` | a page; its bytes; pages that are ready | |
| `experiment`, `reconcile`, `service` | variants of the formula; `marquee verify`; the handlers | |

`__main__` puts the roles together.
"""
