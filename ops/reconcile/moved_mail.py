"""Compare the folder to which mail is moved with the ledger: it has every message since the first one it accepted.

A moved message has a new UID (RFC 6851 §4), so only its content identifies it. To fetch a whole archive for that would take
hours: size and date of arrival, which a move keeps (RFC 9051 §6.4.7), identify most messages, and only the others are fetched.
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
from ingest.sources.imap.fetch import MessageInfo
from ingest.sources.imap.session import ImapSession
from ops.reconcile.mailbox_reader import fetch_in_batches, read_infos, read_sighted, to_arrivals
from ops.reconcile.result import Gap, SourceComparison, accept_arrivals

#: Size in bytes and date of arrival.
SizeAndDate = tuple[int, datetime]
DAY = timedelta(days=1)


def compare_moved(comparison: SourceComparison, mailbox: Mailbox, database: Database, max_bytes: int, *, repair: bool) -> None:
    """Add the messages of ``mailbox.move_to`` to the comparison. Raises the errors of the server and of a lost connection.

    Of a message larger than ``max_bytes`` only the header is fetched.
    """
    with database.read() as db:
        since = db.execute(select(func.min(Sighting.seen_at)).where(Sighting.source == comparison.source)).scalar_one()
    if since is None:
        return
    try:
        session = ImapSession(mailbox.model_copy(update={"folder": mailbox.move_to, "move_to": ""}))
    except IMAPClientAbortError:
        raise
    except IMAPClientError:
        comparison.notes.append(
            f"the folder {mailbox.move_to} cannot be opened; casemill creates it when it moves the first message"
        )
        return
    with session:
        _compare(comparison, mailbox, database, session, since, max_bytes, repair)


def _compare(
    comparison: SourceComparison,
    mailbox: Mailbox,
    database: Database,
    session: ImapSession,
    since: datetime,
    max_bytes: int,
    repair: bool,
) -> None:
    prefix = cursors.place_prefix(mailbox.move_to, session.selected.uidvalidity)
    uids = session.search_all(1, None, since.date() - DAY)
    # INTERNALDATE is in whole seconds.
    infos = [one for one in read_infos(session, uids) if one.received_at >= since.replace(microsecond=0)]
    with database.read() as db:
        sighted = read_sighted(db, comparison.source, prefix)
        moved = _count_moved(db, comparison.source)
    comparison.server = (comparison.server or 0) + len(infos)
    comparison.ledger += len(sighted)
    unmatched = find_unmatched([one for one in infos if one.uid not in sighted], moved)
    for start in range(0, len(unmatched), fetch.MAX_BATCH_MESSAGES):
        chunk = unmatched[start : start + fetch.MAX_BATCH_MESSAGES]
        for outcomes in fetch_in_batches(session, chunk, max_bytes):
            unknown = _drop_known(database, to_arrivals(comparison.source, prefix, outcomes))
            comparison.gaps += [Gap(one.place, "unknown_message", "moved there, but not in the ledger") for one in unknown]
            if repair:
                comparison.mark_repaired(accept_arrivals(database, unknown), "accepted now")


def find_unmatched(infos: Sequence[MessageInfo], moved: Counter[SizeAndDate]) -> list[int]:
    """Return the UIDs of messages that size and date do not identify. Pure.

    If the folder has more messages of one size and date than were moved, these are all messages of that size and date.
    """
    found = Counter((one.size, one.received_at) for one in infos)
    return [one.uid for one in infos if found[one.size, one.received_at] > moved[one.size, one.received_at]]


def _count_moved(db: Session, source: str) -> Counter[SizeAndDate]:
    """Count the moved messages by size and date."""
    statement = select(InboundItem.size, InboundItem.received_at).join(Sighting, Sighting.item_id == InboundItem.id)
    rows = db.execute(statement.where(Sighting.source == source, Sighting.moved_at.is_not(None)))
    return Counter((size, received_at) for size, received_at in rows)


def _drop_known(database: Database, arrivals: Sequence[Arrival]) -> list[Arrival]:
    identities = {arrival.place: arrival.identity or blobs.digest(arrival.raw) for arrival in arrivals}
    statement = select(InboundItem.identity).where(InboundItem.family == MAIL)
    with database.read() as db:
        known = set(db.execute(statement.where(InboundItem.identity.in_(set(identities.values())))).scalars())
    return [arrival for arrival in arrivals if identities[arrival.place] not in known]
