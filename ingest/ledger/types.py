"""Plain values of the ledger, free of SQLAlchemy: arrivals, accepted and claimed items, outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.reasons import Reason

#: Families: the same identity within a family is the same item, for ever.
MAIL, FORMSTACK, WORKBOOK, ROW = "mail", "formstack", "workbook", "row"


#: Sources in which a person puts a file, first words of ``Arrival.source``.
DROPPED = ("folder", "upload")


#: (family, identity).
ItemKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes and where they came from.

    ``source`` is ``mailbox:NAME``, ``form:ID``, ``folder:NAME``, ``upload`` or ``workbook:ITEM``; ``place`` says exactly where
    in it (``INBOX/uidvalidity/uid``, a file with its inode and time, ``sheet!row``). ``kind`` is ``mail``, ``form``,
    ``workbook``, ``row`` or ``oversize`` (headers of a message too large to take). ``identity`` defaults to the SHA-256 of
    ``raw``.
    """

    family: str
    kind: str
    source: str
    place: str
    raw: bytes
    received_at: datetime
    identity: str = ""
    parent_id: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ledger row of an arrival; ``known`` when its identity had been there before. ``sha256`` is of what came."""

    item_id: int
    known: bool
    sha256: str


#: An item given back this often by claims that ended without a word is set aside (reliability.md, promise 5).
MAX_LOSSES = 10


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An item in hand."""

    id: int
    family: str
    kind: str
    source: str
    sha256: str
    size: int
    received_at: datetime
    due_at: datetime
    attempts: int
    losses: int
    alone: bool
    parent_id: int | None
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: its disposition, why, and its ticket."""

    item_id: int
    disposition: str
    reason: Reason
    ticket_id: int | None = None
