"""Alerts: the clock logs each invariant that is violated, and each that holds again, once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from core.database.session import Database
from core.findings import Finding
from core.settings import Settings
from ops.invariants.checks import check_invariants

log = logging.getLogger("casemill.ops.invariants")

#: Seconds between two checks.
CHECK_SECONDS = 15.0


class InvariantAlerts:
    """Logs violations and recoveries. Remembers, in this process only, which alerts it has logged.

    A change is logged when two checks in a row see it. What one check alone sees (a process that has just started, a
    moment of heavy load) needs no operator.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._changing: set[str] = set()
        self._alerted_levels: dict[str, int] = {}

    def check(self) -> None:
        """Check all invariants and log what has changed."""
        with self._database.read() as session:
            findings = check_invariants(session, self._settings, self._database.now(session))
        self.update(findings)

    def update(self, findings: Iterable[Finding]) -> None:
        """Log what has changed with ``findings``, the results of one check of all invariants."""
        changing = set()
        for finding in findings:
            level = self._alerted_levels.get(finding.check, 0)
            if (not finding.is_ok and finding.level <= level) or (finding.is_ok and not level):
                continue
            if finding.check not in self._changing:
                changing.add(finding.check)
                continue
            self._log_change(finding)
        self._changing = changing

    def _log_change(self, finding: Finding) -> None:
        due = finding.oldest.isoformat() if finding.oldest else None
        details = {"code": finding.check, "count": finding.count, "due": due}
        if finding.is_ok:
            self._alerted_levels.pop(finding.check, None)
            log.error("invariant holds again", extra=details)
        else:
            self._alerted_levels[finding.check] = finding.level
            log.error("invariant violated", extra=details)
