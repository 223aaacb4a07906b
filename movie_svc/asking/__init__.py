"""When OMDb is asked, by whom, and how its answers are kept.

| module | what it does |
|---|---|
| `asker` | asks for a movie that nobody here knows |
| `answers` | the one home of what OMDb answered: keeps it in all layers |
| `plots` | the full plot, asked for when someone wants to read it |
| `refresh_queue`, `refresh` | which old records are read most, and who asks for them again |
| `lease` | one question for all replicas |
"""
