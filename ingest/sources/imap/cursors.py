"""How far a mailbox has been read: first contact, a changed UIDVALIDITY, errors in a row, and what is still to be moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.database.bulk import insert_ignore
from core.database.in_lists import in_list
from ingest.ledger.models import InboundItem, MailboxCursor, Sighting

#: UIDs are never 0 (RFC 9051 §9), nor is UIDVALIDITY: a row with 0 was made for its error before the first contact.
NEVER = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where to go on: ``last_uid`` is the last UID done with; below ``first_uid`` only mail from ``day`` on counts."""

    uidvalidity: int
    first_uid: int
    last_uid: int
    day: date | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failures in a row of a mailbox, and when it last answered."""

    errors: int
    answered_at: datetime | None


def source_of(mailbox: str) -> str:
    """The source word of a mailbox in items and sightings."""
    return f"mailbox:{mailbox}"


def place_prefix(folder: str, uidvalidity: int) -> str:
    """Places of a folder's messages begin so; a UID counts only within its UIDVALIDITY (RFC 9051 §2.3.1.1)."""
    return f"{folder}/{uidvalidity}/"


def load(session: Session, mailbox: str) -> MailboxCursor | None:
    """The cursor's row, if the mailbox was ever reached; an error before the first contact is not a contact."""
    row = session.get(MailboxCursor, mailbox)
    return None if row is None or row.uidvalidity == NEVER else row


def begin(session: Session, mailbox: str, position: Position, left_out: int, now: datetime) -> None:
    """Write the cursor anew: at the first contact and after a rewind."""
    _ensure(session, mailbox)
    values = {
        "uidvalidity": position.uidvalidity,
        "first_uid": position.first_uid,
        "last_uid": position.last_uid,
        "checked_at": now,
        "left_out": left_out,
    }
    session.execute(update(MailboxCursor).where(MailboxCursor.mailbox == mailbox).values(values))


def first_day(session: Session, mailbox: str) -> date | None:
    """The day from which a mailbox that takes only new mail counts when its UIDs have been given anew.

    The cursor's UID means nothing any more, and taking everything would answer years of old mail. What was there at the
    first contact was left out, so only what came since the first sighting (else since the last check) is looked at;
    a day earlier, because SEARCH SINCE goes by the day in the server's own zone.
    """
    seen = session.execute(select(func.min(Sighting.seen_at)).where(Sighting.source == source_of(mailbox))).scalar_one()
    if seen is None:
        seen = session.execute(select(MailboxCursor.checked_at).where(MailboxCursor.mailbox == mailbox)).scalar_one_or_none()
    return None if seen is None else seen.date() - timedelta(days=1)


def advance(session: Session, mailbox: str, uidvalidity: int, last_uid: int, now: datetime) -> None:
    """The mailbox answered, and its UIDs up to ``last_uid`` are passed: no errors in a row any more.

    A cursor of another UIDVALIDITY is left alone.
    """
    mine = (MailboxCursor.mailbox == mailbox, MailboxCursor.uidvalidity == uidvalidity)
    values = {"last_uid": last_uid, "checked_at": now, "errors": 0, "error": None}
    session.connection().execute(update(MailboxCursor).where(*mine).values(values))


def trouble(session: Session, mailbox: str) -> Trouble:
    """What trouble there has been with a mailbox since it answered."""
    wanted = select(MailboxCursor.errors, MailboxCursor.checked_at).where(MailboxCursor.mailbox == mailbox)
    row = session.execute(wanted).one_or_none()
    return Trouble(*row) if row is not None else Trouble(0, None)


def note_error(session: Session, mailbox: str, code: str) -> Trouble:
    """Count one more error in a row; ``code`` is a reason code, never text of a server or a message."""
    _ensure(session, mailbox)
    counted = (
        update(MailboxCursor)
        .where(MailboxCursor.mailbox == mailbox)
        .values(errors=MailboxCursor.errors + 1, error=code)
        .returning(MailboxCursor.errors, MailboxCursor.checked_at)
    )
    errors, checked_at = session.execute(counted).one()
    return Trouble(errors, checked_at)


def seen(session: Session, source: str, places: Sequence[str]) -> set[str]:
    """Those of ``places`` that have a sighting."""
    statement = select(Sighting.place).where(Sighting.source == source, in_list(Sighting.place, places))
    return set(session.execute(statement).scalars())


def unmoved(session: Session, source: str, prefix: str) -> list[int]:
    """UIDs under ``prefix`` (``folder/uidvalidity/``) that were taken and are still to be moved, oldest first.

    What could not be fetched stays where it is, for a person to look at.
    """
    statement = select(Sighting.place).join(InboundItem, InboundItem.id == Sighting.item_id)
    waiting = (Sighting.source == source, Sighting.moved_at.is_(None), InboundItem.kind != "unfetched")
    under = Sighting.place.startswith(prefix, autoescape=True)
    return sorted(int(place.removeprefix(prefix)) for place in session.execute(statement.where(*waiting, under)).scalars())


def note_moved(session: Session, source: str, places: Iterable[str], now: datetime) -> None:
    """Record that the server has moved these."""
    mine = (Sighting.source == source, in_list(Sighting.place, sorted(places)), Sighting.moved_at.is_(None))
    session.execute(update(Sighting).where(*mine).values(moved_at=now))


def _ensure(session: Session, mailbox: str) -> None:
    defaults = {"mailbox": mailbox, "uidvalidity": NEVER, "first_uid": 1, "last_uid": 0, "errors": 0, "left_out": 0}
    insert_ignore(session, MailboxCursor, [defaults])
