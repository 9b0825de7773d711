"""Plain values of the ledger, free of SQLAlchemy: sources, arrivals, accepted and claimed items, outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.reasons import Reason

#: Families of items. Within a family one identity is one item, permanently (UNIQUE on family and identity).
MAIL, FORMSTACK, WORKBOOK, ROW = "mail", "formstack", "workbook", "row"
#: Kinds that need no parser: a row is our own JSON, and of an unfetched message there are no bytes to read.
UNPARSED_KINDS: Final = frozenset({"row", "unfetched"})
#: Kinds of source into which a person puts a file by hand.
FILE_DROP_KINDS: Final = frozenset({"folder", "upload"})
#: An item whose claims expired this often goes into quarantine (reliability.md, promise 5).
MAX_LOSSES = 10

#: (family, identity).
ItemKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an item came from: ``mailbox:NAME``, ``folder:NAME``, ``form:ID``, ``mail:ITEM``, ``workbook:ITEM`` or ``upload``.

    ``str(source)`` is the text that the tables store; :meth:`parse` reads it.
    """

    kind: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Split a stored source at its first colon; a text without a colon is a kind without a name."""
        kind, _, name = text.partition(":")
        return cls(kind, name)

    @property
    def is_file_drop(self) -> bool:
        """Whether a person put the file there, and so reads its outcome beside the file."""
        return self.kind in FILE_DROP_KINDS

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes and where they came from.

    ``source`` is the text of a :class:`Source`. ``place`` is the position within it: ``INBOX/uidvalidity/uid``, a file with
    its inode and time, or ``sheet!row``. ``kind`` is ``mail``, ``form``, ``workbook``, ``row``, ``oversize`` (only the headers
    of a message above the size limit) or ``unfetched``. ``identity`` defaults to the SHA-256 of ``raw``.
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
    """The ledger row of an arrival.

    ``known`` is true when the ledger had the identity before. ``sha256`` is the hash of the bytes that came this time.
    """

    item_id: int
    known: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """An inbound item that a worker has claimed.

    The fields are the columns of the same names: ``attempts`` counts failures of the item by itself, ``losses`` claims that
    expired, and ``alone`` means that the item is processed in a batch of its own.
    """

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
    """How an item ended: its disposition, the reason, and its ticket if it has one."""

    item_id: int
    disposition: str
    reason: Reason
    ticket_id: int | None = None
