"""Findings: the results of checks, of `casemill doctor` and of the production invariants alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is; the values are what `casemill doctor --json` prints as ``state``."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    ``check`` names the check. The name of an invariant never changes, because metrics and alerts carry it.
    ``text`` and ``hint`` contain no text of a message.
    ``count`` is how many rows violate an invariant; ``oldest`` is since when the oldest of them does (UTC).
    ``level`` rises as a problem gets worse: a rise repeats the alert.
    """

    check: str
    severity: Severity
    text: str
    hint: str = ""
    count: int = 0
    oldest: datetime | None = None
    level: int = 1

    @property
    def is_ok(self) -> bool:
        """Whether the check found nothing wrong."""
        return self.severity is Severity.OK

    def as_dict(self) -> dict[str, str]:
        """Return the finding as `casemill doctor --json` prints it."""
        return {"check": self.check, "state": self.severity.value, "text": self.text, "hint": self.hint}


def ok(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Severity.OK, text)


def warning(check: str, text: str, hint: str = "") -> Finding:
    """Return a finding that does not fail `casemill doctor`."""
    return Finding(check, Severity.WARNING, text, hint)


def problem(check: str, text: str, hint: str = "", *, count: int = 1, oldest: datetime | None = None, level: int = 1) -> Finding:
    """Return a finding that something is wrong; ``hint`` says what to do."""
    return Finding(check, Severity.PROBLEM, text, hint, count, oldest, level)
