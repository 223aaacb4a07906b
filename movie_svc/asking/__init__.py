"""When OMDb is asked, by whom, and how its answers are kept.

| module | what it does |
|---|---|
| `intake` | asks for a movie that nobody here knows, and keeps the answer |
| `plots` | the full plot, asked for when someone wants to read it |
| `wishes`, `refresh` | which old records readers want again, and who asks for them |
| `flights` | one question for all who wait in this process |
| `lease` | one question for all replicas |
"""
