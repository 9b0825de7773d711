"""Mailbox cursors: how far a mailbox has been read, its errors in a row, and which messages are still to be moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.database.bulk import insert_ignore
from core.database.in_lists import in_list
from ingest.ledger.models import InboundItem, MailboxCursor, Sighting
from ingest.ledger.types import Source

#: UIDVALIDITY is never 0 (RFC 9051 §9): a row with 0 only counts errors of a mailbox that was never reached.
NO_UIDVALIDITY = 0


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """Where to continue: all UIDs up to ``last_uid`` are done; below ``first_uid`` only mail from ``since_day`` on is read."""

    uidvalidity: int
    first_uid: int
    last_uid: int
    since_day: date | None


@dataclass(frozen=True, slots=True)
class MailboxErrors:
    """A mailbox's errors in a row, and when it last answered (UTC)."""

    in_a_row: int
    answered_at: datetime | None


def source_of(mailbox: str) -> str:
    """Return the source of a mailbox's items and sightings, which is also the name of its lease."""
    return str(Source("mailbox", mailbox))


def place_prefix(folder: str, uidvalidity: int) -> str:
    """Return the prefix of the places of a folder's messages. A UID is valid only within its UIDVALIDITY (RFC 9051 §2.3.1.1)."""
    return f"{folder}/{uidvalidity}/"


def load(session: Session, mailbox: str) -> MailboxCursor | None:
    """Return the cursor's row; None if the mailbox was never reached, even when its errors are counted already."""
    row = session.get(MailboxCursor, mailbox)
    return None if row is None or row.uidvalidity == NO_UIDVALIDITY else row


def write_position(session: Session, mailbox: str, position: ReadPosition, left_out: int, now: datetime) -> None:
    """Write a new read position: when a mailbox is first read, and after a rewind."""
    _ensure_row(session, mailbox)
    values = {
        "uidvalidity": position.uidvalidity,
        "first_uid": position.first_uid,
        "last_uid": position.last_uid,
        "checked_at": now,
        "left_out": left_out,
    }
    session.execute(update(MailboxCursor).where(MailboxCursor.mailbox == mailbox).values(values))


def find_first_day(session: Session, mailbox: str) -> date | None:
    """Return the day from which to read a mailbox for new mail only, after its UIDVALIDITY has changed.

    The cursor's UID is then invalid, and reading everything would answer years of old mail. Mail older than the first read
    was left out, so mail since the first sighting (else since the last check) is read; from a day earlier, because
    SEARCH SINCE compares days in the server's own zone.
    """
    first_seen = session.execute(select(func.min(Sighting.seen_at)).where(Sighting.source == source_of(mailbox))).scalar_one()
    if first_seen is None:
        first_seen = session.execute(
            select(MailboxCursor.checked_at).where(MailboxCursor.mailbox == mailbox)
        ).scalar_one_or_none()
    return None if first_seen is None else first_seen.date() - timedelta(days=1)


def advance(session: Session, mailbox: str, uidvalidity: int, last_uid: int, now: datetime) -> None:
    """Record that the mailbox answered and that all UIDs up to ``last_uid`` are done; reset its errors in a row.

    A cursor of another UIDVALIDITY is not changed.
    """
    mine = (MailboxCursor.mailbox == mailbox, MailboxCursor.uidvalidity == uidvalidity)
    values = {"last_uid": last_uid, "checked_at": now, "errors": 0, "error": None}
    session.connection().execute(update(MailboxCursor).where(*mine).values(values))


def read_errors(session: Session, mailbox: str) -> MailboxErrors:
    """Return a mailbox's errors in a row."""
    wanted = select(MailboxCursor.errors, MailboxCursor.checked_at).where(MailboxCursor.mailbox == mailbox)
    row = session.execute(wanted).one_or_none()
    return MailboxErrors(*row) if row is not None else MailboxErrors(0, None)


def record_error(session: Session, mailbox: str, code: str) -> MailboxErrors:
    """Count one more error in a row; ``code`` is a reason code, without text of a server or a message."""
    _ensure_row(session, mailbox)
    counted = (
        update(MailboxCursor)
        .where(MailboxCursor.mailbox == mailbox)
        .values(errors=MailboxCursor.errors + 1, error=code)
        .returning(MailboxCursor.errors, MailboxCursor.checked_at)
    )
    errors, checked_at = session.execute(counted).one()
    return MailboxErrors(errors, checked_at)


def find_sighted(session: Session, source: str, places: Sequence[str]) -> set[str]:
    """Return those of ``places`` that have a sighting."""
    statement = select(Sighting.place).where(Sighting.source == source, in_list(Sighting.place, places))
    return set(session.execute(statement).scalars())


def find_unmoved(session: Session, source: str, prefix: str) -> list[int]:
    """Return the UIDs under ``prefix`` (``folder/uidvalidity/``) that are accepted and still to be moved, oldest first.

    A message that could not be fetched is not moved: an operator has to look at it.
    """
    statement = select(Sighting.place).join(InboundItem, InboundItem.id == Sighting.item_id)
    waiting = (Sighting.source == source, Sighting.moved_at.is_(None), InboundItem.kind != "unfetched")
    under = Sighting.place.startswith(prefix, autoescape=True)
    return sorted(int(place.removeprefix(prefix)) for place in session.execute(statement.where(*waiting, under)).scalars())


def record_moved(session: Session, source: str, places: Iterable[str], now: datetime) -> None:
    """Record that the server has moved the messages at ``places``."""
    mine = (Sighting.source == source, in_list(Sighting.place, sorted(places)), Sighting.moved_at.is_(None))
    session.execute(update(Sighting).where(*mine).values(moved_at=now))


def _ensure_row(session: Session, mailbox: str) -> None:
    defaults = {"mailbox": mailbox, "uidvalidity": NO_UIDVALIDITY, "first_uid": 1, "last_uid": 0, "errors": 0, "left_out": 0}
    insert_ignore(session, MailboxCursor, [defaults])
