"""Tables of the ledger: inbound items, sightings, cursors and mail fingerprints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import core.blobs  # noqa: F401 - the table that attachments and items refer to
from core.database.types import Base, where


class InboundItem(Base):
    """One item that arrived: a mail, form submission, workbook or row. UNIQUE on (family, identity), permanently.

    ``state`` is ``waiting``, ``claimed`` or ``settled``. ``disposition`` is one of the words of ``mail-rules.md`` once settled,
    and ``failed`` while the item is to be retried. ``attempts`` counts failures of the item by itself, ``losses`` claims that
    expired. ``alone`` isolates the item: its next attempt is in a batch of its own. ``extra`` holds values of its kind.
    """

    __tablename__ = "inbound_item"
    __table_args__ = (
        UniqueConstraint("family", "identity"),
        Index("ix_inbound_item_due", "due_at", "id", **where("state = 'waiting'")),
        Index("ix_inbound_item_claim_until", "claim_until", **where("state = 'claimed'")),
        Index("ix_inbound_item_disposition", "disposition", "received_at", **where("disposition IS NOT NULL")),
        Index("ix_inbound_item_parent_id", "parent_id", **where("parent_id IS NOT NULL")),
        Index("ix_inbound_item_ticket_id", "ticket_id", **where("ticket_id IS NOT NULL")),
        Index("ix_inbound_item_received_at", "received_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    family: Mapped[str]
    identity: Mapped[str]
    kind: Mapped[str]
    source: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), ForeignKey("blob.sha256"))
    size: Mapped[int]
    received_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(default="waiting")
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    alone: Mapped[bool] = mapped_column(default=False)
    claim: Mapped[str | None]
    claim_until: Mapped[datetime | None]
    disposition: Mapped[str | None]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("ticket.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("inbound_item.id"))
    extra: Mapped[dict[str, Any]]
    settled_at: Mapped[datetime | None]


class Sighting(Base):
    """A place where an item was seen: a mailbox UID, a workbook row, a file of a folder. UNIQUE on (source, place)."""

    __tablename__ = "sighting"
    __table_args__ = (UniqueConstraint("source", "place"), Index("ix_sighting_item_id", "item_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str]
    place: Mapped[str]
    item_id: Mapped[int] = mapped_column(ForeignKey("inbound_item.id"))
    seen_at: Mapped[datetime]
    first: Mapped[bool]
    note: Mapped[str | None]
    moved_at: Mapped[datetime | None]


class MailboxCursor(Base):
    """How far a mailbox has been read: ``first_uid`` is the first UID to read, ``last_uid`` the last one with a sighting."""

    __tablename__ = "mailbox_cursor"

    mailbox: Mapped[str] = mapped_column(primary_key=True)
    uidvalidity: Mapped[int] = mapped_column(BigInteger)
    first_uid: Mapped[int] = mapped_column(BigInteger, default=1)
    last_uid: Mapped[int] = mapped_column(BigInteger, default=0)
    checked_at: Mapped[datetime | None]
    errors: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    left_out: Mapped[int] = mapped_column(default=0)


class FormCursor(Base):
    """How far a form's list of submissions at Formstack has been read (formstack.md, Backfill).

    Submissions since ``started_at`` are read. ``missed`` counts those the webhook had not delivered, the last at ``missed_at``.
    """

    __tablename__ = "form_cursor"

    form: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    read_until: Mapped[datetime]
    due_at: Mapped[datetime]
    checked_at: Mapped[datetime | None]
    errors: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    missed: Mapped[int] = mapped_column(default=0)
    missed_at: Mapped[datetime | None]


class MailFingerprint(Base):
    """The content of a mail, claimed by the first item that has it; another item with it within 7 days is a duplicate."""

    __tablename__ = "mail_fingerprint"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("inbound_item.id"))
    claimed_at: Mapped[datetime]
