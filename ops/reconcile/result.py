"""A balance: one source held against the ledger. What a source has and the ledger has not is a gap, and a gap is an alarm."""

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

#: What has not been taken for this long is no longer on its way.
LATE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is not as it must be, at ``place`` in its source; ``code`` says what, ``text`` in words."""

    place: str
    code: str
    text: str
    repaired: bool = False


@dataclass(slots=True)
class SourceComparison:
    """``server`` is how much the source has (None: it was not asked), ``ledger`` how much of this source the ledger has.

    ``unread`` is what is not read yet and not late either. ``problem`` says why nothing could be compared.
    """

    source: str
    server: int | None = None
    ledger: int = 0
    unread: int = 0
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: Reason | None = None

    @property
    def is_wrong(self) -> bool:
        return self.problem is not None or any(not gap.repaired for gap in self.gaps)

    @property
    def open_gaps(self) -> int:
        return sum(not gap.repaired for gap in self.gaps)

    def mark_repaired(self, places: set[str], text: str) -> None:
        """The gaps at these places are repaired; ``text`` says how."""
        self.gaps = [replace(gap, repaired=True, text=text) if gap.place in places else gap for gap in self.gaps]

    def as_dict(self) -> dict[str, Any]:
        gaps = [{"place": gap.place, "code": gap.code, "text": gap.text, "repaired": gap.repaired} for gap in self.gaps]
        return {
            "source": self.source,
            "server": self.server,
            "ledger": self.ledger,
            "unread": self.unread,
            "gaps": gaps,
            "notes": list(self.notes),
            "problem": self.problem.as_dict() if self.problem else None,
        }


def store(database: Database, arrivals: Sequence[Arrival]) -> set[str]:
    """Accept arrivals; answers the places of those that are in the ledger now. One that cannot be stored spoils no other.

    Raises only when the database is away.
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
        return {place for arrival in arrivals for place in store(database, [arrival])}
    request_drain("ingest.drain")
    return {arrival.place for arrival in arrivals}


def spell(age: timedelta) -> str:
    """``12 min``, ``3 h`` or ``2 d``."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
