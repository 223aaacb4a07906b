"""rating_svc: takes ratings, keeps them, and tells the others what changed.

Three roles, each a process of its own: `serve` answers RPCs and writes into the
log, `worker` brings the log into PostgreSQL, `relay` hands changes to the topic
that ranking_svc reads.
"""
