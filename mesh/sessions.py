"""What PostgreSQL itself enforces on every session of a service's role.

A client's own deadlines end with the client: one that is frozen, or cut off
from the server, would keep its locks for as long as TCP allows it. So the server
ends what it left behind, and a successor waits no longer than `RELEASE_S`.

The settings belong to the roles (`ALTER ROLE … SET`), not to the connections:
so they hold behind a PgBouncer too, which refuses startup parameters that it
does not know, and no process can be started without them. `local.stack.provision`
sets them here; a cluster sets the same ones where it makes the roles.
"""

from typing import Final

SETTINGS: Final = {
    # Less than MARQUEE_PG_TIMEOUT_S, so that the server gives up before the client does and says why.
    "lock_timeout": "2s",
    # Nothing of ours thinks for seconds within a transaction: who does is frozen.
    "idle_in_transaction_session_timeout": "5s",
    # Clients give up after MARQUEE_PG_TIMEOUT_S; this ends what a frozen one left running.
    # What takes longer on purpose says so itself: SET LOCAL statement_timeout.
    "statement_timeout": "60s",
    # Pools close idle connections after 60 s; a frozen process does not. A session that holds a
    # lock for longer than a transaction sets a shorter one itself.
    "idle_session_timeout": "5min",
    # Whether a client is still there is asked also while a statement runs.
    "client_connection_check_interval": "2s",
    # A client whose machine or network is gone answers no probe: found out after 5 + 3 · 2 s.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
"""By the name of PostgreSQL's setting; all of them may be set by the role itself."""

RELEASE_S: Final = 12.0
"""After how many seconds at most the locks of a transaction are free whose client is frozen or cut off.

The longest of the ways above: a network that is gone, 5 + 3 · 2 s, and some time to notice.
"""
