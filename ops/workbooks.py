"""Expanded workbooks held against the ledger: read again, each of their rows must have a sighting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from core import blobs, clock
from core.db import Database
from core.errors import RefusedError
from core.hints import hint
from core.settings import Settings
from ingest import workbooks
from ingest.children import ParserPool
from ingest.models import InboundItem, Sighting
from ingest.parsers.child import Answer, ParseFailure, ParseTask
from ingest.parsers.types import ParsedWorkbook, Refusal
from ops.balances import Balance, Gap

#: Reading a workbook again takes its time: unless they are asked for, only those of this long are.
LATELY = timedelta(days=30)
_EXPANDED = (InboundItem.kind == "workbook", InboundItem.state == "settled", InboundItem.disposition == "expanded")


class WorkbookCheck:
    """Holds expanded workbooks against the ledger: one item, or all that came after ``since``."""

    def __init__(self, settings: Settings, database: Database, pool: ParserPool, *, mend: bool) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._mend = mend

    def run_all(self, since: datetime | None, progress: Callable[[int, int], None]) -> Balance:
        """The balance of all; ``progress`` is told (workbooks done, workbooks). Raises only when the database is away."""
        statement = select(InboundItem.id).where(*_EXPANDED).order_by(InboundItem.id)
        if since is not None:
            statement = statement.where(InboundItem.received_at >= since)
        with self._database.read() as session:
            ids = list(session.execute(statement).scalars())
        balance = Balance("workbooks", server=0)
        balance.notes.append(f"{len(ids):,} workbooks read again" + (f", those since {since:%Y-%m-%d}" if since else ""))
        for done, item_id in enumerate(ids, 1):
            self._compare(balance, item_id)
            progress(done, len(ids))
        return balance

    def run_one(self, item_id: int) -> Balance:
        """The balance of one. Raises :class:`RefusedError` when the item is no expanded workbook."""
        with self._database.read() as session:
            found = session.execute(select(InboundItem.id).where(InboundItem.id == item_id, *_EXPANDED)).first()
        if found is None:
            raise RefusedError("unknown_source", f"item {item_id} is no expanded workbook", mend="give the number of one")
        balance = Balance(f"workbook:{item_id}", server=0)
        self._compare(balance, item_id)
        return balance

    def _compare(self, balance: Balance, item_id: int) -> None:
        answer, sighted = self._read(item_id)
        balance.ledger += len(sighted)
        if not isinstance(answer, ParsedWorkbook):
            code = answer.code if isinstance(answer, Refusal | ParseFailure) else "missing_bytes"
            balance.gaps.append(Gap(f"item {item_id}", "unreadable_workbook", f"cannot be read again ({code})"))
            return
        places = [workbooks.place_of(row) for row in answer.rows]
        balance.server = (balance.server or 0) + len(places)
        missing = [place for place in places if place not in sighted]
        balance.gaps += [Gap(f"item {item_id}: {place}", "unknown_row", "expanded, and not in the ledger") for place in missing]
        if surplus := len(sighted.difference(places)):
            balance.notes.append(f"item {item_id}: {surplus:,} rows of the ledger are not found when it is read again")
        if missing and self._mend:
            self._expand_again(balance, item_id, missing)

    def _read(self, item_id: int) -> tuple[Answer | None, set[str]]:
        with self._database.read() as session:
            item = session.get_one(InboundItem, item_id)
            sighted = set(session.execute(select(Sighting.place).where(Sighting.source == f"workbook:{item_id}")).scalars())
            options = workbooks.options_for(self._settings, item.source, item.extra)
            try:
                raw = blobs.get(session, item.sha256)
            except NoResultFound:
                return None, sighted
        return self._pool.parse([ParseTask("workbook", raw, options)], alone=True)[0], sighted

    def _expand_again(self, balance: Balance, item_id: int, missing: Sequence[str]) -> None:
        """Give the workbook back to the pipeline: expanding it again changes nothing about the rows that are there."""

        def unit(session: Session) -> bool:
            values = {"state": "waiting", "due_at": clock.now(), "alone": True, "attempts": 0, "losses": 0}
            fresh = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None}
            statement = update(InboundItem).where(InboundItem.id == item_id, *_EXPANDED).values(**values, **fresh)
            return session.execute(statement.returning(InboundItem.id)).first() is not None

        if self._database.run(unit):
            hint("ingest.drain")
            balance.mark_mended({f"item {item_id}: {place}" for place in missing}, "its workbook is expanded again")
