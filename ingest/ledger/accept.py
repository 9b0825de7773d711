"""The ledger: what arrived, once, and where it was seen. Accepting is durable before the source is told anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from core import blobs
from core.claims import Claim
from core.database.bulk import insert_ignore, take_numbers
from core.database.in_lists import among_given, listed
from core.database.types import Transaction
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import DROPPED, Accepted, Arrival, ItemKey

#: PostgreSQL: from this many rows on it pays to number them beforehand. SQLite's numbers cost next to nothing.
MANY = 8


def accept(session: Transaction, arrivals: Sequence[Arrival], now: datetime, *, claim: Claim | None = None) -> list[Accepted]:
    """Write blobs, items and sightings of ``arrivals``; to be committed before the source is told anything.

    Answers in the order given. Accepting the same arrival again changes nothing, but for a file that was rejected: whoever
    drops it again, a password configured perhaps, has it tried again. What is new is held under ``claim``, else it waits.
    """
    if not arrivals:
        return []
    hashes = [blobs.digest(arrival.raw) for arrival in arrivals]
    keys = [(arrival.family, arrival.identity or sha256) for arrival, sha256 in zip(arrivals, hashes, strict=True)]
    blobs.put_all(session, [(sha, arrival.raw) for sha, arrival in zip(hashes, arrivals, strict=True)], now, read_soon=True)
    state = {} if claim is None else {"state": "claimed", "claim": claim.token, "claim_until": claim.until}
    rows: dict[ItemKey, dict[str, Any]] = {}
    for order, (key, sha256, arrival) in enumerate(zip(keys, hashes, arrivals, strict=True)):
        rows.setdefault(key, _item_row(arrival, key, sha256, due_at(now, order)) | state)
    made = _insert(session, [rows[key] for key in sorted(rows)])  # most arrivals are new, so nobody looks first
    before = find_known(session, [key for key in rows if key not in made])
    items = before | made
    fresh = set(made) | _reopen(session, {key: a for key, a in zip(keys, arrivals, strict=True) if key in before}, now)
    accepted = []
    for key, sha256 in zip(keys, hashes, strict=True):
        accepted.append(Accepted(items[key][0], key not in fresh, sha256))
        fresh.discard(key)
    other = [sha256 if items[key][1] != sha256 else None for key, sha256 in zip(keys, hashes, strict=True)]
    _sight(session, arrivals, accepted, other, now)
    return accepted


def due_at(now: datetime, order: int) -> datetime:
    """When the arrival of this place among those accepted at ``now`` is due: rows are written in another order."""
    return now + timedelta(microseconds=order)


def find_known(session: Transaction, keys: Sequence[ItemKey]) -> dict[ItemKey, tuple[int, str]]:
    """(family, identity) → (item id, hash of its bytes) of those that are there."""
    identities: dict[str, set[str]] = {}
    for family, identity in keys:
        identities.setdefault(family, set()).add(identity)
    found: dict[ItemKey, tuple[int, str]] = {}
    for family, wanted in identities.items():
        # Pairs in one IN would be compared with every row there is: SQLite uses no index for them.
        rows = session.connection().execute(_KNOWN, {"family": family, "listed": listed(wanted)})
        found |= {(family, identity): (item_id, sha256) for identity, item_id, sha256 in rows}
    return found


_KNOWN = select(InboundItem.identity, InboundItem.id, InboundItem.sha256).where(
    InboundItem.family == bindparam("family"), among_given(InboundItem.identity)
)


def _insert(session: Transaction, rows: Sequence[dict[str, Any]]) -> dict[ItemKey, tuple[int, str]]:
    """Insert what no other transaction was first with; answers what was inserted, as :func:`find` does."""
    if not rows:
        return {}
    if len(rows) >= MANY or session.connection().dialect.name == "sqlite":
        return _insert_numbered(session, rows)
    found = session.connection().execute(_INSERT_FEW, list(rows))
    return {(family, identity): (item_id, sha256) for family, identity, item_id, sha256 in found}


_INSERT_FEW = (
    postgresql_insert(cast(Table, InboundItem.__table__))
    .on_conflict_do_nothing()
    .returning(InboundItem.family, InboundItem.identity, InboundItem.id, InboundItem.sha256)
)


def _insert_numbered(session: Transaction, rows: Sequence[dict[str, Any]]) -> dict[ItemKey, tuple[int, str]]:
    """The same by the numbers the rows bring: a row under its own number is ours."""
    numbers = take_numbers(session, InboundItem, len(rows))
    inserted = insert_ignore(session, InboundItem, [{**row, "id": number} for number, row in zip(numbers, rows, strict=True)])
    ours = {(row["family"], row["identity"]): (number, row["sha256"]) for number, row in zip(numbers, rows, strict=True)}
    if inserted == len(rows):
        return ours
    return {key: item for key, item in find_known(session, list(ours)).items() if item[0] == ours[key][0]}


def _reopen(session: Transaction, known: Mapping[ItemKey, Arrival], now: datetime) -> set[ItemKey]:
    """Open the rejected ones again that a person brings a second time; a mail server may show a message any number of times."""
    dropped = {key: arrival for key, arrival in known.items() if arrival.source.partition(":")[0] in DROPPED}
    reopened = set()
    for key in sorted(dropped):
        rejected = InboundItem.state == "settled", InboundItem.disposition == "rejected"
        values = {"state": "waiting", "due_at": now, "source": dropped[key].source, "extra": dropped[key].extra}
        nothing = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None, "attempts": 0, "losses": 0}
        statement = update(InboundItem).where(InboundItem.family == key[0], InboundItem.identity == key[1], *rejected)
        if session.connection().execute(statement.values(**values, **nothing).returning(InboundItem.id)).first() is not None:
            reopened.add(key)
    return reopened


def _item_row(arrival: Arrival, key: tuple[str, str], sha256: str, due_at: datetime) -> dict[str, Any]:
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


def _sight(
    session: Transaction, arrivals: Sequence[Arrival], accepted: Sequence[Accepted], other: Sequence[str | None], now: datetime
) -> None:
    """``other`` is the hash of bytes that came under a known identity and are not those of its item."""
    rows = [
        {
            "source": arrival.source,
            "place": arrival.place,
            "item_id": one.item_id,
            "seen_at": now,
            "first": not one.known,
            "note": f"other content: {sha256}" if sha256 else None,
        }
        for arrival, one, sha256 in zip(arrivals, accepted, other, strict=True)
    ]
    insert_ignore(session, Sighting, sorted(rows, key=lambda row: (str(row["source"]), str(row["place"]))))
