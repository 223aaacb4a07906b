"""Drills: one known thing of the running mesh is broken, its alert is waited for, and all is mended again.

| module | what it does |
|---|---|
| `model` | what a drill is, and the ground that it works on: a running mesh with its observers |
| `table` | all drills: the list, the docs and the tests come from it |
| `stores` | drills of what holds data: PostgreSQL, Redis, Kafka |
| `services` | drills of OMDb, a worker, a release and a certificate |
| `traffic` | calls that go on meanwhile, without which nobody would notice |
| `alerts` | what Prometheus and Alertmanager say of an alert |
| `command` | `marquee drill`, and the mending before `up` and `down` |
| `running` | breaks, waits, mends, waits; and mends what a drill that was killed has left |

`bad_release` is a release of movie_svc with a planted bug.
"""
