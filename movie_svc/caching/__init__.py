"""Memory and Redis before the tables.

| module | what it does |
|---|---|
| `cache` | two levels: this process's memory, and Redis, which all replicas share |
| `batches` | reads of Redis that come at the same moment travel together |
| `renewal` | what will soon be missed is read again before |
| `tracking` | Redis tells a process what it must forget |
"""
