"""Workbooks in the ledger: one item for the file, a child item for each row, and the receipt that says what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import blobs, clock
from core.database.session import Database
from core.errors import NotFoundError, RefusedError
from core.failpoints import failpoint
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Workbooks
from ingest.ledger import claims
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import ROW, Accepted, Arrival, ClaimedItem, Outcome
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedWorkbook, ParseOptions, WorkbookRow
from ingest.parsers.worker import ParseTask
from ingest.workbooks.receipt import RowOutcome, write_receipt
from tickets.numbers import number

ROWS_A_COMMIT = 200
#: Excel allows 31 characters; what only claims to be from Excel may have any number.
SHEET_NAME = 100


def options_for(settings: Settings, source: str, extra: Mapping[str, Any]) -> ParseOptions:
    """Column aliases and passwords for a workbook, by where it came from; an upload may use those of every source."""
    kind, _, name = source.partition(":")
    if kind == "folder" and name in settings.folders:
        chosen = [settings.folders[name].workbooks]
    elif extra.get("mailbox") in settings.mailboxes:
        chosen = [settings.mailboxes[extra["mailbox"]].workbooks]
    else:
        chosen = [folder.workbooks for folder in settings.folders.values()]
        chosen += [mailbox.workbooks for mailbox in settings.mailboxes.values()]
    return _merged(chosen)


def _merged(sections: Sequence[Workbooks]) -> ParseOptions:
    aliases: dict[str, tuple[str, ...]] = {}
    for section in sections:
        for column, names in section.columns.items():
            aliases[column] = (*aliases.get(column, ()), *names)
    passwords = dict.fromkeys(secret.get_secret_value() for section in sections for secret in section.passwords)
    return ParseOptions(column_aliases=aliases, passwords=tuple(passwords))


def expand(database: Database, token: str, item: ClaimedItem, workbook: ParsedWorkbook, category: str) -> bool:
    """Make the child items, a few hundred rows a commit; False when the claim was lost on the way.

    Doing it again after a crash changes nothing: the rows' identities and places decide.
    """
    starts = range(0, len(workbook.rows), ROWS_A_COMMIT)
    chunks = [workbook.rows[start : start + ROWS_A_COMMIT] for start in starts] or [()]
    for count, chunk in enumerate(chunks, 1):
        last = count == len(chunks)

        def unit(session: Session, chunk: Sequence[WorkbookRow] = chunk, last: bool = last) -> bool:
            now = clock.now()
            if not claims.lock_claimed(session, token, [item.id]):
                return False
            _accept_rows(session, item, chunk, category, now)
            if last:
                claims.settle(session, [Outcome(item.id, "expanded", _expanded(session, item, workbook))], now)
            return True

        if not database.transaction(unit):
            return False
        failpoint("workbook.chunk")
    return True


def receipt(database: Database, pool: ParserPool, settings: Settings, item_id: int, *, repeated: bool = False) -> bytes:
    """The receipt workbook of an expanded item. ``repeated``: the file was there before, so every row is a duplicate.

    Raises :class:`NotFoundError` for no such workbook, :class:`RefusedError` when it can no longer be read.
    """
    with database.read() as session:
        item = session.get(InboundItem, item_id)
        if item is None or item.kind != "workbook":
            raise NotFoundError(f"item {item_id} is no workbook")
        raw = blobs.get(session, item.sha256)
        options = options_for(settings, item.source, item.extra)
        by_place = row_outcomes(session, item_id, repeated=repeated)
    parsed = pool.parse([ParseTask("workbook", raw, options)], alone=True)[0]
    if not isinstance(parsed, ParsedWorkbook):
        raise RefusedError("workbook_unreadable", "the workbook can no longer be read")
    outcomes = {(row.sheet, row.number): by_place[place_of(row)] for row in parsed.rows if place_of(row) in by_place}
    return write_receipt(parsed, outcomes)


def place_of(row: WorkbookRow) -> str:
    """Where in its workbook a row is, ``sheet!row``; a sheet's name can be longer than an index takes."""
    sheet = row.sheet if len(row.sheet) <= SHEET_NAME else f"sha256:{blobs.digest(row.sheet.encode())}"
    return f"{sheet}!{row.number}"


def row_outcomes(session: Session, item_id: int, *, repeated: bool = False) -> dict[str, RowOutcome]:
    """Place → what became of the row. One whose item came with another file, or earlier in this one, is a duplicate."""
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
        .where(Sighting.source == f"workbook:{item_id}")
        .order_by(Sighting.first.desc(), Sighting.id)  # the row that brought the item comes before those that repeat it
    )
    outcomes: dict[str, RowOutcome] = {}
    shown: set[int] = set()
    for place, row_item, parent, disposition, state, reason, ticket_id in session.execute(statement):
        ticket = number(ticket_id) if ticket_id else ""
        if repeated or parent != item_id or row_item in shown:
            outcomes[place] = RowOutcome("duplicate", ticket, "The same row was taken in before")
        else:
            settled = disposition if state == "settled" else "pending"
            outcomes[place] = RowOutcome(settled or "pending", ticket, reason or "")
        shown.add(row_item)
    return outcomes


def is_finished(session: Session, item_id: int) -> bool:
    """Whether a workbook and all its rows have their outcome."""
    item = session.get(InboundItem, item_id)
    if item is None or item.state != "settled":
        return False
    open_rows = select(InboundItem.id).join(Sighting, Sighting.item_id == InboundItem.id)
    statement = open_rows.where(Sighting.source == f"workbook:{item_id}", InboundItem.state != "settled")
    return session.execute(statement.limit(1)).first() is None


def _accept_rows(session: Session, item: ClaimedItem, rows: Sequence[WorkbookRow], category: str, now: datetime) -> None:
    arrivals = [_arrival(item, row, category) for row in rows]
    accepted = accept(session, arrivals, now)
    _reopen_rejected(session, item, arrivals, accepted, now)


def _arrival(item: ClaimedItem, row: WorkbookRow, category: str) -> Arrival:
    # Where the row stands is no part of it: moved by a longer export or a receipt, it has not been corrected.
    raw = msgspec.json.encode({"fields": row.fields, "extra": row.extra}, order="deterministic")
    return Arrival(
        family=ROW,
        kind="row",
        source=f"workbook:{item.id}",
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
    """A corrected row of a rejected identity gets another chance, as part of this file (formstack.md)."""
    again: dict[int, Arrival] = {}
    for one, arrival in zip(accepted, arrivals, strict=True):
        if one.known:
            again.setdefault(one.item_id, arrival)
    if not again:
        return
    rejected = InboundItem.state == "settled", InboundItem.disposition == "rejected"
    statement = select(InboundItem.id, InboundItem.sha256).where(InboundItem.id.in_(again), *rejected)
    for item_id, sha256 in session.execute(statement.order_by(InboundItem.id)).all():
        raw = again[item_id].raw
        if blobs.digest(raw) == sha256:
            continue
        values = {"sha256": blobs.digest(raw), "size": len(raw), "state": "waiting", "due_at": now, "parent_id": item.id}
        fresh = {"disposition": None, "reason_code": None, "reason": None, "attempts": 0, "losses": 0, "settled_at": None}
        session.execute(update(InboundItem).where(InboundItem.id == item_id, *rejected).values(**values, **fresh))


def _expanded(session: Session, item: ClaimedItem, workbook: ParsedWorkbook) -> Reason:
    """The counts come from the ledger: an expansion that was cut off and done again has not met its own rows before."""
    rows = len(workbook.rows)
    new = session.execute(select(func.count()).where(InboundItem.parent_id == item.id)).scalar_one()
    text = f"{rows} row{'s' * (rows != 1)}: {new} new, {rows - new} known before"
    if workbook.hidden_sheets:
        names = (name if len(name) <= SHEET_NAME else f"{name[:SHEET_NAME]}…" for name in workbook.hidden_sheets)
        text += f"; hidden sheets left alone: {', '.join(names)}"
    return Reason("workbook_expanded", text)
