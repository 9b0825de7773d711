"""The ledger: what arrived, once, and where it was seen. Accepting is durable before the source is told anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from core import blobs
from core.upserts import insert_ignore
from ingest.models import InboundItem, Sighting

#: Families: the same identity within a family is the same item, for ever.
MAIL, FORMSTACK, WORKBOOK, ROW = "mail", "formstack", "workbook", "row"


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes and where they came from.

    ``source`` is ``mailbox:NAME``, ``form:ID``, ``folder:NAME``, ``upload`` or ``workbook:ITEM``; ``place`` says exactly where
    in it (``INBOX/uidvalidity/uid``, a file with its inode and time, ``sheet!row``). ``kind`` is ``mail``, ``form``,
    ``workbook``, ``row`` or ``oversize`` (headers of a message too large to take). ``identity`` defaults to the SHA-256 of
    ``raw``.
    """

    family: str
    kind: str
    source: str
    place: str
    raw: bytes
    received_at: datetime
    identity: str = ""
    parent_id: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ledger row of an arrival; ``known`` when its identity had been there before."""

    item_id: int
    known: bool


def accept(session: Session, arrivals: Sequence[Arrival], now: datetime) -> list[Accepted]:
    """Write blobs, items and sightings of ``arrivals``; to be committed before the source is told anything.

    Answers in the order given. Accepting the same arrival again changes nothing.
    """
    if not arrivals:
        return []
    hashes = [blobs.digest(arrival.raw) for arrival in arrivals]
    keys = [(arrival.family, arrival.identity or sha256) for arrival, sha256 in zip(arrivals, hashes, strict=True)]
    before = _ids(session, keys)
    blobs.put_all(session, [(sha, arrival.raw) for sha, arrival in zip(hashes, arrivals, strict=True)], now)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for order, (key, sha256, arrival) in enumerate(zip(keys, hashes, arrivals, strict=True)):
        # Rows are written in key order; a due time a microsecond apart keeps the order in which they came.
        rows.setdefault(key, _item_row(arrival, key, sha256, now + timedelta(microseconds=order)))
    insert_ignore(session, InboundItem, [rows[key] for key in sorted(rows) if key not in before])
    ids = before if all(key in before for key in keys) else _ids(session, keys)
    seen: set[tuple[str, str]] = set(before)
    accepted = []
    for key in keys:
        accepted.append(Accepted(ids[key], key in seen))
        seen.add(key)
    _sight(session, arrivals, accepted, now)
    return accepted


def _ids(session: Session, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    statement = select(InboundItem.family, InboundItem.identity, InboundItem.id)
    rows = session.execute(statement.where(tuple_(InboundItem.family, InboundItem.identity).in_(set(keys))))
    return {(family, identity): item_id for family, identity, item_id in rows}


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


def _sight(session: Session, arrivals: Sequence[Arrival], accepted: Sequence[Accepted], now: datetime) -> None:
    rows = [
        {"source": arrival.source, "place": arrival.place, "item_id": one.item_id, "seen_at": now, "first": not one.known}
        for arrival, one in zip(arrivals, accepted, strict=True)
    ]
    insert_ignore(session, Sighting, sorted(rows, key=lambda row: (str(row["source"]), str(row["place"]))))
