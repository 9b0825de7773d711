"""Messages of a folder on a mail server as they are held against the ledger: looked up, fetched, and made arrivals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.ledger.models import Sighting
from ingest.ledger.types import Arrival
from ingest.sources.imap import fetch
from ingest.sources.imap.fetch import About, Message, Outcome
from ingest.sources.imap.intake import message_arrival
from ingest.sources.imap.session import ImapSession

LOOK_UP = 500


def read_sighted(db: Session, source: str, prefix: str) -> dict[int, datetime | None]:
    """UID → when it was moved, of all sightings under ``prefix`` (``folder/uidvalidity/``)."""
    under = Sighting.place.startswith(prefix, autoescape=True)
    statement = select(Sighting.place, Sighting.moved_at).where(Sighting.source == source, under)
    return {int(place.removeprefix(prefix)): moved_at for place, moved_at in db.execute(statement)}


def look_up(session: ImapSession, uids: Sequence[int]) -> list[About]:
    """Size and date of those that are there."""
    found: list[About] = []
    for start in range(0, len(uids), LOOK_UP):
        found += fetch.look_up(session, uids[start : start + LOOK_UP])[0]
    return found


def fetch_all(session: ImapSession, uids: Sequence[int], limit: int) -> Iterator[list[Outcome]]:
    """Outcomes in batches that fit into memory and into one transaction."""
    known, outcomes = fetch.look_up(session, uids)
    yield outcomes
    for batch in fetch.batches(known, limit):
        yield fetch.fetch(session, batch, limit)


def to_arrivals(source: str, prefix: str, outcomes: Sequence[Outcome]) -> list[Arrival]:
    """The messages among ``outcomes`` as the watcher would accept them."""
    return [message_arrival(source, f"{prefix}{one.uid}", one) for one in outcomes if isinstance(one, Message)]
