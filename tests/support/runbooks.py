"""Runbooks, followed as far as they name commands: what an operator would type, typed."""

import asyncio
import re
import shlex
import urllib.request
from typing import Any

from local.stack.layout import Stack, checkout
from local.stack.provision import SUPERUSER
from mesh import dial
from tests.support.command import run
from tests.support.waiting import eventually

# They begin or end the mesh, or are for another case than that of a drill.
_LEFT_OUT = {"up", "down", "restart", "drill"}
# What stands for the words that runbooks leave open.
_MEANT = {
    "SERVICE": "movie_svc",
    "INSTANCE": "rating_svc-worker",
    "NAME": "rating_svc-worker",
    "JOB": "movie_svc",
}
# What it says counts when all is mended.
AFTERWARDS = {"verify"}


def commands(alert: str) -> list[str]:
    """The commands of an alert's runbook, in their order: of `marquee`, of SQL, and pages to read."""
    text = (checkout() / "k8s/observability/runbooks" / f"{alert}.md").read_text()
    found = re.findall(r"`(marquee [^`]+|SELECT [^`]+|/health)`", text)
    return [each for each in dict.fromkeys(found) if each.split()[1:2] not in [[word] for word in _LEFT_OUT]]


class Follower:
    """Follows the runbook of an alert on a running mesh."""

    def __init__(self, stack: Stack, alert: str) -> None:
        self._stack = stack
        self._alert = alert
        self._names = dict(_MEANT)
        self.said: dict[str, str] = {}
        """By command: what it answered."""

    async def follow(self, *, afterwards: bool = False) -> None:
        for command in commands(self._alert):
            if (command.split()[-1] in AFTERWARDS) == afterwards:
                self.said[command] = await self._one(command)

    async def _one(self, command: str) -> str:
        for word, meant in self._names.items():
            command = re.sub(rf"\b{word}\b", meant, command)
        if command == "/health":
            return await asyncio.to_thread(self._health)
        if command.startswith("SELECT"):
            return await self._sql(command)
        command, _, wanted = command.partition(" | grep ")
        words = shlex.split(command)[1:]
        done = await asyncio.to_thread(run, self._stack.home, *words)
        # 1: something is not well, which is right while it is broken.
        assert done.returncode in (0, 1), (command, done.stderr)
        assert "Traceback" not in done.stderr, (command, done.stderr)
        if words[:2] == ["dlq", "list"] and any(each.endswith(" ID") for each in commands(self._alert)):
            await self._learn_letter("")
        if words[:2] == ["dlq", "redrive"]:
            # What can't be read comes back, by another name.
            await self._learn_letter(self._names["ID"])
        if wanted:
            (pattern,) = shlex.split(wanted)
            found = [line for line in done.stdout.splitlines() if pattern in line]
            assert found, f"{command} shows no line with {pattern}"
            return "\n".join(found)
        return done.stdout + done.stderr

    async def _learn_letter(self, before: str) -> None:
        async def another() -> str:
            listed = (await asyncio.to_thread(run, self._stack.home, "dlq", "list")).stdout
            letters = [each for each in re.findall(r"^\d+:\d+", listed, re.MULTILINE) if each != before]
            return letters[-1] if letters else ""

        self._names["ID"] = await eventually(another, 60, 0.5, what="a dead letter")

    async def _sql(self, statement: str) -> str:
        connection = await dial.connect(self._stack.dsn(SUPERUSER))
        try:
            rows: list[Any] = await connection.fetch(statement)
        finally:
            await connection.close()
        if rows and "pid" in rows[0]:
            self._names["PID"] = str(rows[0]["pid"])
        return repr(rows)

    def _health(self) -> str:
        url = f"http://{self._stack.address('movie_svc', 'metrics')}/health"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
