"""Memory and Redis before the tables.

| module | what it does |
|---|---|
| `cache` | two levels: this process's memory, and Redis, which all replicas share |
| `batches` | reads of Redis that come at the same moment travel together |
| `tracking` | Redis tells a process what it must forget |
"""
