"""What a stack is, at rest.

| module | what it holds |
|---|---|
| `layout` | the folder, the ports, the secrets, and the addresses that follow from them |
| `provision` | each service's role, schema and Redis user, and how they are created |
| `authority`, `certificates` | who signs certificates here, and the files with those of each process |
| `state` | the file in which the supervisor says how its processes are |
| `child` | one child process, which dies with its parent |
"""
