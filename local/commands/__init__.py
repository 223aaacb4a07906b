"""What `marquee` does: a module for each command, or for what several of them share.

| module | command |
|---|---|
| `status`, `logview`, `admin` | `status`, `logs`; calls that only operators make |
| `demo`, `steps`, `movielens`, `recount`, `chart` | `demo`: real ratings, and the chart recounted |
| `movies`, `ratings`, `dead_letters` | `movies`, `ratings`, `dlq`: the services carry them out |
| `edge_cli`, `canaries` | `edge`, `canary` |
| `loadtest`, `usage`, `http1`, `edge_client` | `load`: requests, and what they cost |
| `console` | how all of them print |
"""
