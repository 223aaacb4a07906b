"""ranking_svc: what all ratings together say.

Two roles, each a process of its own: `consumer` counts changes of ratings, and
takes facts of movies in; `serve` answers scores and charts from memory.

| module | what it is about |
|---|---|
| `service`, `listing`, `wire`, `cache` | serve: the RPCs, pages, answers as bytes, ready answers |
| `chart`, `formula`, `trending` | serve: sorted orders, and what they are sorted by |
| `feed`, `horizon`, `comparing` | serve: the charts follow the database |
| `watch`, `nudges` | serve: streams of scores, and the word that something changed |
| `rebuild` | serve: the mean of all votes, measured once an hour by one server |
| `reconcile`, `basis` | serve: `marquee verify`, and which events a repaired aggregate holds |
| `experiment` | serve: variants of the formula |
| `consumer`, `events`, `inbox` | consumer: changes of ratings, each counted once |
| `facts` | consumer: titles, genres and box office of movies |
| `model` | what is known of a movie |
| `store`, `store_*` | the SQL |
| `topics`, `config`, `metrics` | topics, settings and metrics |
"""
