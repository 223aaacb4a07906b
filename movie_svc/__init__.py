"""movie_svc: movie metadata. What OMDb knows, kept close and served fast.

A call comes in at `service`, which looks it over (`requests`) and hands it on:

- GetMovie, BatchGetMovies: `reader`, through the layers of `caching`, then `storing`, then `asking`.
- LookupMovie and SearchMovies: `finder`, which joins what is stored with what OMDb finds.
- ListMovies: `storing.listings`.

| room | what it is about | may use |
|---|---|---|
| `titles`, `wire`, `metrics`, `config` | the ground: titles' keys, answers' bytes, settings | – |
| `omdb` | OMDb's API: what it is asked, what it may cost, what its answers mean | the ground |
| `storing` | this service's tables: movies, names, the outbox of changes | those above |
| `caching` | memory and Redis before the tables | those above |
| `asking` | when OMDb is asked, by whom, and how its answers are kept | those above |

`importer` loads OMDb's dumps and answers from files; `__main__` puts it all together.
"""
