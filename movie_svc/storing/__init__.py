"""This service's tables, and what stands in them.

| module | what it does |
|---|---|
| `records` | one movie as it is stored, and which of two records of it is kept |
| `store` | reads and writes records, with the events of what changed |
| `naming`, `typos` | finding titles by all their names, also by a name with one wrong letter |
| `listings` | pages: by genre, decade, kind |
| `entries` | a movie's bytes, ready to be sent, as the caches hold them |
| `catalogue` | MovieLens' list of movies, as records |
| `changes` | what `mesh.outbox` brings to Kafka of the outbox: each movie as it is now |
"""
