"""Who starts the processes, watches them, and replaces and stops them.

| module | what it does |
|---|---|
| `stores` | the stores of each shape, how many there are of each, and what they stand for |
| `processes` | all processes, with what each needs first; services' own follow from `mesh.services` |
| `supervisor` | a process of its own, which outlives the command that started it |
| `rolling` | `marquee restart`: one instance after another, without a failed call |
| `access_log` | keeps the edge's access log short |
| `progress` | what is shown while a stack starts |
"""
