"""Expanded workbooks held against the ledger: read again, each of their rows must have a sighting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from core import blobs, clock
from core.database.session import Database
from core.errors import RefusedError
from core.settings import Settings
from ingest.ledger.models import InboundItem, Sighting
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedWorkbook, Refusal
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from ingest.workbooks.expand import options_for, place_of
from ops.reconcile.result import Gap, SourceComparison
from runtime.drain_requests import request_drain

#: Reading a workbook again takes its time: unless they are asked for, only those of this long are.
LATELY = timedelta(days=30)
_EXPANDED = (InboundItem.kind == "workbook", InboundItem.state == "settled", InboundItem.disposition == "expanded")


class WorkbookCheck:
    """Holds expanded workbooks against the ledger: one item, or all that came after ``since``."""

    def __init__(self, settings: Settings, database: Database, pool: ParserPool, *, repair: bool) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._repair = repair

    def run_all(self, since: datetime | None, progress: Callable[[int, int], None]) -> SourceComparison:
        """The balance of all; ``progress`` is told (workbooks done, workbooks). Raises only when the database is away."""
        statement = select(InboundItem.id).where(*_EXPANDED).order_by(InboundItem.id)
        if since is not None:
            statement = statement.where(InboundItem.received_at >= since)
        with self._database.read() as session:
            ids = list(session.execute(statement).scalars())
        balance = SourceComparison("workbooks", server=0)
        balance.notes.append(f"{len(ids):,} workbooks read again" + (f", those since {since:%Y-%m-%d}" if since else ""))
        for done, item_id in enumerate(ids, 1):
            self._compare(balance, item_id)
            progress(done, len(ids))
        return balance

    def run_one(self, item_id: int) -> SourceComparison:
        """The balance of one. Raises :class:`RefusedError` when the item is no expanded workbook."""
        with self._database.read() as session:
            found = session.execute(select(InboundItem.id).where(InboundItem.id == item_id, *_EXPANDED)).first()
        if found is None:
            raise RefusedError("unknown_source", f"item {item_id} is no expanded workbook", hint="give the number of one")
        balance = SourceComparison(f"workbook:{item_id}", server=0)
        self._compare(balance, item_id)
        return balance

    def _compare(self, balance: SourceComparison, item_id: int) -> None:
        answer, sighted = self._read(item_id)
        balance.ledger += len(sighted)
        if not isinstance(answer, ParsedWorkbook):
            code = answer.code if isinstance(answer, Refusal | ParseFailure) else "missing_bytes"
            balance.gaps.append(Gap(f"item {item_id}", "unreadable_workbook", f"cannot be read again ({code})"))
            return
        places = [place_of(row) for row in answer.rows]
        balance.server = (balance.server or 0) + len(places)
        missing = [place for place in places if place not in sighted]
        balance.gaps += [Gap(f"item {item_id}: {place}", "unknown_row", "expanded, and not in the ledger") for place in missing]
        if surplus := len(sighted.difference(places)):
            balance.notes.append(f"item {item_id}: {surplus:,} rows of the ledger are not found when it is read again")
        if missing and self._repair:
            self._expand_again(balance, item_id, missing)

    def _read(self, item_id: int) -> tuple[ParseAnswer | None, set[str]]:
        with self._database.read() as session:
            item = session.get_one(InboundItem, item_id)
            sighted = set(session.execute(select(Sighting.place).where(Sighting.source == f"workbook:{item_id}")).scalars())
            options = options_for(self._settings, item.source, item.extra)
            try:
                raw = blobs.get(session, item.sha256)
            except NoResultFound:
                return None, sighted
        return self._pool.parse([ParseTask("workbook", raw, options)], alone=True)[0], sighted

    def _expand_again(self, balance: SourceComparison, item_id: int, missing: Sequence[str]) -> None:
        """Give the workbook back to the pipeline: expanding it again changes nothing about the rows that are there."""

        def unit(session: Session) -> bool:
            values = {"state": "waiting", "due_at": clock.now(), "alone": True, "attempts": 0, "losses": 0}
            fresh = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None}
            statement = update(InboundItem).where(InboundItem.id == item_id, *_EXPANDED).values(**values, **fresh)
            return session.execute(statement.returning(InboundItem.id)).first() is not None

        if self._database.transaction(unit):
            request_drain("ingest.drain")
            balance.mark_repaired({f"item {item_id}: {place}" for place in missing}, "its workbook is expanded again")
