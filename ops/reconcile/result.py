"""The result of comparing a source with the ledger. A gap is what the source has and the ledger does not; each is an alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from core import clock
from core.database.session import Database, is_unavailable
from core.reasons import Reason
from ingest.ledger.accept import accept
from ingest.ledger.types import Arrival
from runtime.drain_requests import request_drain

#: What has been unread for longer is late.
MAX_UNREAD_AGE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something wrong at ``place`` in its source; ``code`` is its kind, ``text`` a sentence."""

    place: str
    code: str
    text: str
    is_repaired: bool = False


@dataclass(slots=True)
class SourceComparison:
    """Counts, gaps and notes of one source.

    ``server`` is how much the source has (None: it was not read), ``ledger`` how much of this source the ledger has.
    ``unread`` is how much is not read yet and not late. ``problem`` is why nothing could be compared.
    """

    source: str
    server: int | None = None
    ledger: int = 0
    unread: int = 0
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: Reason | None = None

    @property
    def has_problem(self) -> bool:
        return self.problem is not None or any(not gap.is_repaired for gap in self.gaps)

    @property
    def open_gaps(self) -> int:
        return sum(not gap.is_repaired for gap in self.gaps)

    def mark_repaired(self, places: set[str], text: str) -> None:
        """Mark the gaps at ``places`` as repaired; ``text`` is how."""
        self.gaps = [replace(gap, is_repaired=True, text=text) if gap.place in places else gap for gap in self.gaps]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as `casemill reconcile --json` prints it."""
        gaps = [{"place": gap.place, "code": gap.code, "text": gap.text, "repaired": gap.is_repaired} for gap in self.gaps]
        return {
            "source": self.source,
            "server": self.server,
            "ledger": self.ledger,
            "unread": self.unread,
            "gaps": gaps,
            "notes": list(self.notes),
            "problem": self.problem.as_dict() if self.problem else None,
        }


def accept_arrivals(database: Database, arrivals: Sequence[Arrival]) -> set[str]:
    """Accept arrivals; return the places of those that are in the ledger now.

    When a batch fails, each arrival is accepted alone, so that one bad arrival does not affect the others. Raises only when
    the database is unavailable.
    """
    if not arrivals:
        return set()
    try:
        database.transaction(lambda session: accept(session, arrivals, clock.now()))
    except Exception as error:
        if is_unavailable(error):
            raise
        if len(arrivals) == 1:
            return set()
        return {place for arrival in arrivals for place in accept_arrivals(database, [arrival])}
    request_drain("ingest.drain")
    return {arrival.place for arrival in arrivals}


def format_age(age: timedelta) -> str:
    """Return an age as ``12 min``, ``3 h`` or ``2 d``."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
