"""Workbooks in the ledger: an item for the file, an item for each row, and the outcome of each row for the receipt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import blobs, clock
from core.database.session import Database
from core.errors import NotFoundError, RefusedError
from core.failpoints import failpoint
from core.reasons import Reason
from core.settings import Settings
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger import claims
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import ROW, Accepted, Arrival, ClaimedItem, Outcome, Source
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedWorkbook, WorkbookRow
from ingest.parsers.worker import ParseTask
from ingest.workbooks.receipt import RowOutcome, write_receipt
from tickets.numbers import format_number

ROWS_PER_COMMIT = 200
#: Excel allows 31 characters in a sheet name; other programs may write any number.
MAX_SHEET_NAME_CHARS = 100


def expand(database: Database, token: str, item: ClaimedItem, workbook: ParsedWorkbook, category: str) -> bool:
    """Accept the rows of a workbook as items, :data:`ROWS_PER_COMMIT` a commit, and settle the workbook with the last.

    Returns False when the claim was lost on the way. Repeating it after a crash changes nothing: the identities and places of
    the rows decide what is new.
    """
    starts = range(0, len(workbook.rows), ROWS_PER_COMMIT)
    chunks = [workbook.rows[start : start + ROWS_PER_COMMIT] for start in starts] or [()]
    for count, chunk in enumerate(chunks, 1):
        last = count == len(chunks)

        def unit(session: Session, chunk: Sequence[WorkbookRow] = chunk, last: bool = last) -> bool:
            now = clock.now()
            if not claims.lock_claimed(session, token, [item.id]):
                return False
            _accept_rows(session, item, chunk, category, now)
            if last:
                claims.settle(session, [Outcome(item.id, "expanded", _expansion_reason(session, item, workbook))], now)
            return True

        if not database.transaction(unit):
            return False
        failpoint("workbook.chunk")
    return True


def make_receipt(database: Database, pool: ParserPool, settings: Settings, item_id: int, *, repeated: bool = False) -> bytes:
    """Return the receipt workbook (.xlsx) of an expanded item.

    With ``repeated`` the file arrived again, so every row is shown as a duplicate. Raises :class:`NotFoundError` when the item
    is no workbook, :class:`RefusedError` when it can no longer be read.
    """
    with database.read() as session:
        item = session.get(InboundItem, item_id)
        if item is None or item.kind != "workbook":
            raise NotFoundError(f"item {item_id} is no workbook")
        raw = blobs.get(session, item.sha256)
        options = workbook_options(settings, item.source, item.extra)
        by_place = row_outcomes(session, item_id, repeated=repeated)
    parsed = pool.parse([ParseTask("workbook", raw, options)], alone=True)[0]
    if not isinstance(parsed, ParsedWorkbook):
        raise RefusedError("workbook_unreadable", "the workbook can no longer be read")
    outcomes = {(row.sheet, row.number): by_place[place_of(row)] for row in parsed.rows if place_of(row) in by_place}
    return write_receipt(parsed, outcomes)


def place_of(row: WorkbookRow) -> str:
    """Return the place of a row, ``sheet!row``; a sheet name too long for the index is replaced by its hash."""
    sheet = row.sheet if len(row.sheet) <= MAX_SHEET_NAME_CHARS else f"sha256:{blobs.digest(row.sheet.encode())}"
    return f"{sheet}!{row.number}"


def row_outcomes(session: Session, item_id: int, *, repeated: bool = False) -> dict[str, RowOutcome]:
    """Return place → outcome of the row; a row whose item came with another file, or earlier in this one, is a duplicate."""
    statement = (
        select(
            Sighting.place,
            InboundItem.id,
            InboundItem.parent_id,
            InboundItem.disposition,
            InboundItem.state,
            InboundItem.reason,
            InboundItem.ticket_id,
        )
        .join(InboundItem, InboundItem.id == Sighting.item_id)
        .where(Sighting.source == str(Source("workbook", str(item_id))))
        # The row that created the item comes before the rows that repeat it.
        .order_by(Sighting.first.desc(), Sighting.id)
    )
    outcomes: dict[str, RowOutcome] = {}
    shown: set[int] = set()
    for place, row_item, parent, disposition, state, reason, ticket_id in session.execute(statement):
        ticket = format_number(ticket_id) if ticket_id else ""
        if repeated or parent != item_id or row_item in shown:
            outcomes[place] = RowOutcome("duplicate", ticket, "The same row arrived before")
        else:
            settled = disposition if state == "settled" else "pending"
            outcomes[place] = RowOutcome(settled or "pending", ticket, reason or "")
        shown.add(row_item)
    return outcomes


def is_finished(session: Session, item_id: int) -> bool:
    """Return whether a workbook and all its rows are settled."""
    item = session.get(InboundItem, item_id)
    if item is None or item.state != "settled":
        return False
    open_rows = select(InboundItem.id).join(Sighting, Sighting.item_id == InboundItem.id)
    statement = open_rows.where(Sighting.source == str(Source("workbook", str(item_id))), InboundItem.state != "settled")
    return session.execute(statement.limit(1)).first() is None


def _accept_rows(session: Session, item: ClaimedItem, rows: Sequence[WorkbookRow], category: str, now: datetime) -> None:
    arrivals = [_arrival(item, row, category) for row in rows]
    accepted = accept(session, arrivals, now)
    _reopen_rejected(session, item, arrivals, accepted, now)


def _arrival(item: ClaimedItem, row: WorkbookRow, category: str) -> Arrival:
    # The position is no part of the bytes: a row moved by a longer export or a receipt has not been corrected.
    raw = msgspec.json.encode({"fields": row.fields, "extra": row.extra}, order="deterministic")
    return Arrival(
        family=ROW,
        kind="row",
        source=str(Source("workbook", str(item.id))),
        place=place_of(row),
        raw=raw,
        received_at=item.received_at,
        identity=row.identity,
        parent_id=item.id,
        extra={"category": category},
    )


def _reopen_rejected(
    session: Session, item: ClaimedItem, arrivals: Sequence[Arrival], accepted: Sequence[Accepted], now: datetime
) -> None:
    """Return corrected rows of rejected items to waiting, as rows of this file (formstack.md)."""
    repeated: dict[int, Arrival] = {}
    for one, arrival in zip(accepted, arrivals, strict=True):
        if one.known:
            repeated.setdefault(one.item_id, arrival)
    if not repeated:
        return
    rejected = InboundItem.state == "settled", InboundItem.disposition == "rejected"
    statement = select(InboundItem.id, InboundItem.sha256).where(InboundItem.id.in_(repeated), *rejected)
    for item_id, sha256 in session.execute(statement.order_by(InboundItem.id)).all():
        raw = repeated[item_id].raw
        if blobs.digest(raw) == sha256:
            continue
        values = {"sha256": blobs.digest(raw), "size": len(raw), "state": "waiting", "due_at": now, "parent_id": item.id}
        cleared = {"disposition": None, "reason_code": None, "reason": None, "attempts": 0, "losses": 0, "settled_at": None}
        session.execute(update(InboundItem).where(InboundItem.id == item_id, *rejected).values(**values, **cleared))


def _expansion_reason(session: Session, item: ClaimedItem, workbook: ParsedWorkbook) -> Reason:
    """Count new rows in the ledger and not on the way: an expansion repeated after a crash has inserted some of them itself."""
    rows = len(workbook.rows)
    new = session.execute(select(func.count()).where(InboundItem.parent_id == item.id)).scalar_one()
    text = f"{rows} row{'s' * (rows != 1)}: {new} new, {rows - new} known before"
    if workbook.hidden_sheets:
        names = (
            name if len(name) <= MAX_SHEET_NAME_CHARS else f"{name[:MAX_SHEET_NAME_CHARS]}…" for name in workbook.hidden_sheets
        )
        text += f"; hidden sheets not read: {', '.join(names)}"
    return Reason("workbook_expanded", text)
