"""The folder mail is moved to, held against the ledger: what came since the first message was taken was all taken.

A moved message has a new UID (RFC 6851 §4), so it is known by its content. Fetching a whole archive for that would take hours:
size and date of arrival, which a move keeps (RFC 9051 §6.4.7), tell most of them, and only the others are fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import blobs
from core.database.session import Database
from core.settings.sections import Mailbox
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import MAIL, Arrival
from ingest.sources.imap import cursors, fetch
from ingest.sources.imap.fetch import About
from ingest.sources.imap.session import ImapSession
from ops.reconcile.mailbox_reader import fetch_all, look_up, read_sighted, to_arrivals
from ops.reconcile.result import Gap, SourceComparison, store

#: Size in bytes and date of arrival.
Look = tuple[int, datetime]
DAY = timedelta(days=1)


def compare(balance: SourceComparison, mailbox: Mailbox, database: Database, limit: int, *, repair: bool) -> None:
    """Add the messages of ``mailbox.move_to`` to the balance. Raises what a bad server or a lost connection raises."""
    with database.read() as db:
        begun = db.execute(select(func.min(Sighting.seen_at)).where(Sighting.source == balance.source)).scalar_one()
    if begun is None:
        return
    try:
        session = ImapSession(mailbox.model_copy(update={"folder": mailbox.move_to, "move_to": ""}))
    except IMAPClientAbortError:
        raise
    except IMAPClientError:
        balance.notes.append(f"the folder {mailbox.move_to} cannot be opened; it is made with the first message moved")
        return
    with session:
        _compare(balance, mailbox, database, session, begun, limit, repair)


def _compare(
    balance: SourceComparison,
    mailbox: Mailbox,
    database: Database,
    session: ImapSession,
    begun: datetime,
    limit: int,
    repair: bool,
) -> None:
    prefix = cursors.place_prefix(mailbox.move_to, session.selected.uidvalidity)
    uids = session.search_all(1, None, begun.date() - DAY)
    # INTERNALDATE is in whole seconds.
    abouts = [one for one in look_up(session, uids) if one.received_at >= begun.replace(microsecond=0)]
    with database.read() as db:
        sighted = read_sighted(db, balance.source, prefix)
        taken = _read_taken(db, balance.source)
    balance.server = (balance.server or 0) + len(abouts)
    balance.ledger += len(sighted)
    strange = find_strange([one for one in abouts if one.uid not in sighted], taken)
    for start in range(0, len(strange), fetch.BATCH_MESSAGES):
        chunk = strange[start : start + fetch.BATCH_MESSAGES]
        for outcomes in fetch_all(session, chunk, limit):
            unknown = _unknown(database, to_arrivals(balance.source, prefix, outcomes))
            balance.gaps += [Gap(one.place, "unknown_message", "moved there, and not in the ledger") for one in unknown]
            if repair:
                balance.mark_repaired(store(database, unknown), "accepted now")


def find_strange(abouts: Sequence[About], taken: Counter[Look]) -> list[int]:
    """UIDs of messages that size and date do not tell: where there are more of a look than were taken, all of that look. Pure."""
    found = Counter((one.size, one.received_at) for one in abouts)
    return [one.uid for one in abouts if found[one.size, one.received_at] > taken[one.size, one.received_at]]


def _read_taken(db: Session, source: str) -> Counter[Look]:
    """The looks of the messages that were moved."""
    statement = select(InboundItem.size, InboundItem.received_at).join(Sighting, Sighting.item_id == InboundItem.id)
    rows = db.execute(statement.where(Sighting.source == source, Sighting.moved_at.is_not(None)))
    return Counter((size, received_at) for size, received_at in rows)


def _unknown(database: Database, arrivals: Sequence[Arrival]) -> list[Arrival]:
    identities = {arrival.place: arrival.identity or blobs.digest(arrival.raw) for arrival in arrivals}
    statement = select(InboundItem.identity).where(InboundItem.family == MAIL)
    with database.read() as db:
        known = set(db.execute(statement.where(InboundItem.identity.in_(set(identities.values())))).scalars())
    return [arrival for arrival in arrivals if identities[arrival.place] not in known]
