"""Read the messages of a folder on a mail server, for the comparison with the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.ledger.models import Sighting
from ingest.ledger.types import Arrival
from ingest.sources.imap import fetch
from ingest.sources.imap.fetch import FetchedMessage, FetchOutcome, MessageInfo
from ingest.sources.imap.intake import make_message_arrival
from ingest.sources.imap.session import ImapSession

MAX_INFO_UIDS = 500


def read_sighted(db: Session, source: str, prefix: str) -> dict[int, datetime | None]:
    """Return UID → when the message was moved, of all sightings under ``prefix`` (``folder/uidvalidity/``)."""
    under = Sighting.place.startswith(prefix, autoescape=True)
    statement = select(Sighting.place, Sighting.moved_at).where(Sighting.source == source, under)
    return {int(place.removeprefix(prefix)): moved_at for place, moved_at in db.execute(statement)}


def read_infos(session: ImapSession, uids: Sequence[int]) -> list[MessageInfo]:
    """Return size and date of the messages that exist."""
    found: list[MessageInfo] = []
    for start in range(0, len(uids), MAX_INFO_UIDS):
        found += fetch.fetch_infos(session, uids[start : start + MAX_INFO_UIDS])[0]
    return found


def fetch_in_batches(session: ImapSession, uids: Sequence[int], max_bytes: int) -> Iterator[list[FetchOutcome]]:
    """Yield the outcomes of a fetch, in batches that fit into memory and into one transaction."""
    infos, outcomes = fetch.fetch_infos(session, uids)
    yield outcomes
    for batch in fetch.split_batches(infos, max_bytes):
        yield fetch.fetch_messages(session, batch, max_bytes)


def to_arrivals(source: str, prefix: str, outcomes: Sequence[FetchOutcome]) -> list[Arrival]:
    """Return the messages among ``outcomes`` as the arrivals that the watcher accepts."""
    return [make_message_arrival(source, f"{prefix}{one.uid}", one) for one in outcomes if isinstance(one, FetchedMessage)]
