"""Who starts the processes, watches them, and replaces and stops them.

| module | what it does |
|---|---|
| `processes` | the table: each process, what it needs first, and how many there are |
| `supervisor` | a process of its own, which outlives the command that started it |
| `rolling` | `marquee restart`: one instance after another, without a failed call |
| `progress` | what is shown while a stack starts |
"""
