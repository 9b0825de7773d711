"""Accepting arrivals: write each once, with where it was seen, before the source is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from core import blobs
from core.claims import Claim
from core.database.bulk import allocate_ids, insert_ignore
from core.database.in_lists import encode_list, in_list_parameter
from core.database.types import Transaction
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import Accepted, Arrival, ItemKey, Source

#: On PostgreSQL, rows are numbered before the insert from this many rows on: below it, the extra statement costs more than it
#: saves. On SQLite numbering costs next to nothing, so it always numbers.
NUMBERED_INSERT_MIN_ROWS = 8


def accept(session: Transaction, arrivals: Sequence[Arrival], now: datetime, *, claim: Claim | None = None) -> list[Accepted]:
    """Write blobs, items and sightings of ``arrivals`` and return their ledger rows in the order given.

    The caller acknowledges the source (IMAP flag, moved file, HTTP 200) only after the commit. Accepting the same arrival again
    changes nothing, with one exception: a rejected file that a person drops again is processed again, because its password may
    have been configured since. New items are claimed under ``claim``; without one they wait to be claimed.
    """
    if not arrivals:
        return []
    # 1. Blobs first: items refer to them. Intake writes blobs before contacts and staff too, so transactions lock in one order.
    hashes = [blobs.digest(arrival.raw) for arrival in arrivals]
    keys = [(arrival.family, arrival.identity or sha256) for arrival, sha256 in zip(arrivals, hashes, strict=True)]
    blobs.put_all(session, [(sha, arrival.raw) for sha, arrival in zip(hashes, arrivals, strict=True)], now, read_soon=True)
    # 2. Items, in key order: two transactions that accept the same arrivals then wait for each other and do not deadlock.
    #    Insert before looking: most arrivals are new, and the UNIQUE key decides who was first.
    state = {} if claim is None else {"state": "claimed", "claim": claim.token, "claim_until": claim.until}
    rows: dict[ItemKey, dict[str, Any]] = {}
    for order, (key, sha256, arrival) in enumerate(zip(keys, hashes, arrivals, strict=True)):
        rows.setdefault(key, _item_row(arrival, key, sha256, due_time(now, order)) | state)
    inserted = _insert(session, [rows[key] for key in sorted(rows)])
    # 3. Look up the others, and reopen rejected files that a person dropped again.
    existing = find_known(session, [key for key in rows if key not in inserted])
    items = existing | inserted
    new = set(inserted) | _reopen_dropped(
        session, {key: a for key, a in zip(keys, arrivals, strict=True) if key in existing}, now
    )
    accepted = []
    for key, sha256 in zip(keys, hashes, strict=True):
        accepted.append(Accepted(items[key][0], key not in new, sha256))
        # The second arrival with this key in the same call is a repeat of the first.
        new.discard(key)
    # 4. Sightings last: they refer to items. A sighting is what lets a mailbox cursor pass a message.
    other_hashes = [sha256 if items[key][1] != sha256 else None for key, sha256 in zip(keys, hashes, strict=True)]
    _insert_sightings(session, arrivals, accepted, other_hashes, now)
    return accepted


def due_time(now: datetime, order: int) -> datetime:
    """Return when the arrival at position ``order`` of a call is due.

    Rows are inserted in key order; a microsecond for each position keeps the order of arrival.
    """
    return now + timedelta(microseconds=order)


def find_known(session: Transaction, keys: Sequence[ItemKey]) -> dict[ItemKey, tuple[int, str]]:
    """Return the items the ledger has among ``keys``: (family, identity) → (item id, SHA-256 of its bytes)."""
    identities: dict[str, set[str]] = {}
    for family, identity in keys:
        identities.setdefault(family, set()).add(identity)
    found: dict[ItemKey, tuple[int, str]] = {}
    for family, wanted in identities.items():
        # One query a family: for a list of pairs SQLite uses no index and reads the whole table.
        rows = session.connection().execute(_KNOWN, {"family": family, "values": encode_list(wanted)})
        found |= {(family, identity): (item_id, sha256) for identity, item_id, sha256 in rows}
    return found


_KNOWN = select(InboundItem.identity, InboundItem.id, InboundItem.sha256).where(
    InboundItem.family == bindparam("family"), in_list_parameter(InboundItem.identity)
)


def _insert(session: Transaction, rows: Sequence[dict[str, Any]]) -> dict[ItemKey, tuple[int, str]]:
    """Insert rows whose key is new and return those inserted, in the form of :func:`find_known`."""
    if not rows:
        return {}
    if len(rows) >= NUMBERED_INSERT_MIN_ROWS or session.connection().dialect.name == "sqlite":
        return _insert_numbered(session, rows)
    found = session.connection().execute(_INSERT_RETURNING, list(rows))
    return {(family, identity): (item_id, sha256) for family, identity, item_id, sha256 in found}


_INSERT_RETURNING = (
    postgresql_insert(cast(Table, InboundItem.__table__))
    .on_conflict_do_nothing()
    .returning(InboundItem.family, InboundItem.identity, InboundItem.id, InboundItem.sha256)
)


def _insert_numbered(session: Transaction, rows: Sequence[dict[str, Any]]) -> dict[ItemKey, tuple[int, str]]:
    """Insert under numbers taken beforehand: a row found under the number given to it was inserted here."""
    numbers = allocate_ids(session, InboundItem, len(rows))
    inserted = insert_ignore(session, InboundItem, [{**row, "id": number} for number, row in zip(numbers, rows, strict=True)])
    ours = {(row["family"], row["identity"]): (number, row["sha256"]) for number, row in zip(numbers, rows, strict=True)}
    if inserted == len(rows):
        return ours
    return {key: item for key, item in find_known(session, list(ours)).items() if item[0] == ours[key][0]}


def _reopen_dropped(session: Transaction, known: Mapping[ItemKey, Arrival], now: datetime) -> set[ItemKey]:
    """Put rejected files that a person dropped again back to waiting, and return their keys.

    Mail is never reopened: a server may show the same message any number of times.
    """
    dropped = {key: arrival for key, arrival in known.items() if Source.parse(arrival.source).is_file_drop}
    reopened = set()
    for key in sorted(dropped):
        rejected = InboundItem.state == "settled", InboundItem.disposition == "rejected"
        values = {"state": "waiting", "due_at": now, "source": dropped[key].source, "extra": dropped[key].extra}
        cleared = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None, "attempts": 0, "losses": 0}
        statement = update(InboundItem).where(InboundItem.family == key[0], InboundItem.identity == key[1], *rejected)
        if session.connection().execute(statement.values(**values, **cleared).returning(InboundItem.id)).first() is not None:
            reopened.add(key)
    return reopened


def _item_row(arrival: Arrival, key: ItemKey, sha256: str, due_at: datetime) -> dict[str, Any]:
    return {
        "family": key[0],
        "identity": key[1],
        "kind": arrival.kind,
        "source": arrival.source,
        "sha256": sha256,
        "size": len(arrival.raw),
        "received_at": arrival.received_at,
        "due_at": due_at,
        "parent_id": arrival.parent_id,
        "extra": arrival.extra,
    }


def _insert_sightings(
    session: Transaction,
    arrivals: Sequence[Arrival],
    accepted: Sequence[Accepted],
    other_hashes: Sequence[str | None],
    now: datetime,
) -> None:
    """Record where each arrival was seen; ``other_hashes`` has the hash of bytes that differ from those of the known item."""
    rows = [
        {
            "source": arrival.source,
            "place": arrival.place,
            "item_id": one.item_id,
            "seen_at": now,
            "first": not one.known,
            "note": f"other content: {sha256}" if sha256 else None,
        }
        for arrival, one, sha256 in zip(arrivals, accepted, other_hashes, strict=True)
    ]
    insert_ignore(session, Sighting, sorted(rows, key=lambda row: (str(row["source"]), str(row["place"]))))
