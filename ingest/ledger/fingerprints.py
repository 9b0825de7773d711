"""Fingerprints in the database: which item was first with the content of a mail.

Copies of one mail by two routes differ in their trace headers and share a fingerprint key; a UNIQUE key decides the first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from core.database.bulk import insert_ignore
from core.database.in_lists import encode_list, in_list_parameter
from ingest.ledger.models import MailFingerprint

#: Within this time, the same Message-ID with the same content is one mail (mail-rules.md, Fetch without loss).
DUPLICATE_WINDOW = timedelta(days=7)


def claim(session: Session, keys: Mapping[int, str], now: datetime) -> dict[int, int]:
    """Claim the fingerprint key of each item and return the duplicates: item id → id of the item that has the key.

    ``keys`` maps item ids to keys, oldest item first: of two items with one key in the same call, the older one has it. Keys are
    inserted in key order, so that two transactions do not deadlock. A key older than :data:`DUPLICATE_WINDOW` is free again.
    """
    if not keys:
        return {}
    first: dict[str, int] = {}
    for item_id, key in keys.items():
        first.setdefault(key, item_id)
    rows = [{"key": key, "item_id": first[key], "claimed_at": now} for key in sorted(first)]
    if insert_ignore(session, MailFingerprint, rows) == len(rows):
        return {item_id: first[key] for item_id, key in keys.items() if first[key] != item_id}
    existing = _find_claims(session, first)
    expired = [row for row in rows if existing[str(row["key"])][1] < now - DUPLICATE_WINDOW]
    if expired:
        _reclaim_expired(session, expired, now)
        existing = _find_claims(session, first)
    return {item_id: existing[key][0] for item_id, key in keys.items() if existing[key][0] != item_id}


def _find_claims(session: Session, keys: Collection[str]) -> dict[str, tuple[int, datetime]]:
    """Return key → (id of the item that has it, when it was claimed)."""
    rows = session.connection().execute(_CLAIMS_BY_KEY, {"values": encode_list(keys)})
    return {key: (item_id, claimed_at) for key, item_id, claimed_at in rows}


_CLAIMS_BY_KEY = select(MailFingerprint.key, MailFingerprint.item_id, MailFingerprint.claimed_at).where(
    in_list_parameter(MailFingerprint.key)
)


def _reclaim_expired(session: Session, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Claim keys whose window is over, unless another transaction did so first."""
    insert: Any = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    statement = insert(MailFingerprint)
    anew = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"item_id": statement.excluded.item_id, "claimed_at": statement.excluded.claimed_at},
        where=MailFingerprint.claimed_at < now - DUPLICATE_WINDOW,
    )
    session.execute(anew, rows)
