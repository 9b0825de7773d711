"""The same mail delivered twice differs in its trace headers; its fingerprint does not, and a UNIQUE key decides who is first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from core.database.bulk import insert_ignore
from core.database.in_lists import among_given, listed
from ingest.ledger.models import MailFingerprint

#: Within this time the same Message-ID with the same content is one mail (mail-rules.md, Fetch without loss).
WINDOW = timedelta(days=7)


def claim(session: Session, keys: Mapping[int, str], now: datetime) -> dict[int, int]:
    """Claim the key of each item, given oldest first; answers item → the item that had it before, for those that came second."""
    if not keys:
        return {}
    first: dict[str, int] = {}
    for item_id, key in keys.items():
        first.setdefault(key, item_id)
    rows = [{"key": key, "item_id": first[key], "claimed_at": now} for key in sorted(first)]
    if insert_ignore(session, MailFingerprint, rows) == len(rows):
        return {item_id: first[key] for item_id, key in keys.items() if first[key] != item_id}
    known = _find(session, first)
    expired = [row for row in rows if known[str(row["key"])][1] < now - WINDOW]
    if expired:
        _claim_anew(session, expired, now)
        known = _find(session, first)
    return {item_id: known[key][0] for item_id, key in keys.items() if known[key][0] != item_id}


def _find(session: Session, keys: Collection[str]) -> dict[str, tuple[int, datetime]]:
    """key → (the item that has it, since when)."""
    rows = session.connection().execute(_KNOWN, {"listed": listed(keys)})
    return {key: (item_id, claimed_at) for key, item_id, claimed_at in rows}


_KNOWN = select(MailFingerprint.key, MailFingerprint.item_id, MailFingerprint.claimed_at).where(among_given(MailFingerprint.key))


def _claim_anew(session: Session, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Claim keys whose time is over, unless somebody else just did."""
    insert: Any = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    statement = insert(MailFingerprint)
    anew = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"item_id": statement.excluded.item_id, "claimed_at": statement.excluded.claimed_at},
        where=MailFingerprint.claimed_at < now - WINDOW,
    )
    session.execute(anew, rows)
