"""What a drill is, and the ground that it works on."""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from local.commands import usage
from local.drills.alerts import Alerts
from local.stack import state as states
from local.stack.layout import Home, Stack, StackError
from local.stack.provision import SUPERUSER
from mesh import dial

_SQL_S: Final = 10.0


@dataclass
class Ground:
    """A running mesh with its observers, and what a drill must remember to mend it."""

    home: Home
    stack: Stack
    notes: dict[str, Any] = field(default_factory=dict)
    """What was before, as JSON can hold it."""
    save: Callable[[dict[str, Any]], None] = lambda _notes: None
    """Puts the notes where they outlive this process."""

    def keep(self, **notes: Any) -> None:
        """Notes what mending will need; before it is broken."""
        self.notes.update(notes)
        self.save(self.notes)

    @property
    def alerts(self) -> Alerts:
        return Alerts(self.stack)

    def process(self, name: str) -> states.ProcessState:
        """A process as its supervisor sees it now.

        Raises:
            StackError: the mesh is not up any more.
        """
        return states.running(self.home).processes[name]

    def pids(self, name: str) -> list[int]:
        """A process and all its children now; none while it is away."""
        found = self.process(name)
        return usage.tree(found.pid) if found.alive else []

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to a process and to all its children, where they are still there."""
        for pid in self.pids(name):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    async def sql(
        self, server: str, *statements: str, role: str = SUPERUSER, database: str = "marquee"
    ) -> Any:
        """Runs statements in turn on `postgres` or `postgres-replica`; returns the last one's first value.

        Raises:
            StackError: the server did not answer, or refused.
        """
        value = None
        try:
            connection = await dial.connect(self.stack.dsn(role, server, database), timeout=_SQL_S)
            try:
                for statement in statements:
                    value = await connection.fetchval(statement, timeout=_SQL_S)
            finally:
                await connection.close(timeout=1)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise StackError(f"{server} did not do what the drill needs: {error!r}") from error
        return value


Action = Callable[[Ground], Coroutine[Any, Any, None]]


async def nothing(_ground: Ground) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Drill:
    """One known thing that breaks, and the alert that must be heard of it."""

    name: str
    breaks: str
    """What is broken, as a sentence without its full stop."""
    notice: str
    """What users notice of it."""
    alert: str
    """The alert that is expected; its runbook has the same name."""
    begin: Action
    """Breaks it."""
    mend: Action
    """Mends it, also after this process was killed, and more than once."""
    breaking: Action = nothing
    """Goes on breaking it until it is mended, where once is not enough."""
    traffic: Action = nothing
    """Calls from before it is broken until the alert has ended."""
    needs: tuple[str, ...] = ()
    """The processes that it works on."""

    @property
    def runbook(self) -> str:
        return f"k8s/observability/runbooks/{self.alert}.md"
