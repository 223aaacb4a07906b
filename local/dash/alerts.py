"""Questions to Alertmanager: what fires now, and what is to be done about it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

_NAME: Final = re.compile(r"\w+")
_ALWAYS: Final = "none"
"""The severity of what fires always."""
_OURS: Final = frozenset({"alertname", "severity", "follows", "sloth_id", "sloth_service", "sloth_slo"})
# What people are woken by comes first.
_ORDER: Final = ("page", "ticket")


class NoAlertsError(RuntimeError):
    """Alertmanager does not answer; the message says what to do."""


class Alerts:
    """Alertmanager, by its URL, and the folder of the runbooks."""

    def __init__(self, url: str, runbooks: Path) -> None:
        self._url = url
        self._runbooks = runbooks

    async def find(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """What fires, graver and newer first, each with its runbook.

        Raises:
            NoAlertsError: Alertmanager does not answer.
        """
        try:
            async with session.get(f"{self._url}/api/v2/alerts") as answer:
                answer.raise_for_status()
                told = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAlertsError(f"Alertmanager does not answer ({error}): see `marquee status`") from None
        rows = [self._row(each) for each in told if each["labels"].get("severity") != _ALWAYS]
        rows.sort(key=lambda row: row["since"], reverse=True)
        rows.sort(key=lambda row: (row["silent"], _ORDER.index(row["severity"])))
        return {"alerts": rows}

    def _row(self, alert: Mapping[str, Any]) -> dict[str, Any]:
        labels, annotations = alert["labels"], alert["annotations"]
        name = labels["alertname"]
        severity = labels.get("severity")
        return {
            "name": name,
            "severity": severity if severity in _ORDER else _ORDER[-1],
            "summary": annotations.get("summary", ""),
            "description": annotations.get("description", ""),
            "labels": {key: value for key, value in sorted(labels.items()) if key not in _OURS},
            "since": alert["startsAt"],
            # Nobody is told: its cause has an alert of its own, or an operator has silenced it.
            "silent": alert["status"]["state"] == "suppressed",
            "runbook": self._runbook(name),
        }

    def _runbook(self, name: str) -> str:
        path = self._runbooks / f"{name}.md"
        return path.read_text() if _NAME.fullmatch(name) and path.is_file() else ""
