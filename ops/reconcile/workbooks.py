"""Compare expanded workbooks with the ledger: when they are read again, each row must have a sighting."""

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
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import Source
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedWorkbook, Refusal
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from ingest.workbooks.expand import place_of
from ops.reconcile.result import Gap, SourceComparison
from runtime.drain_requests import request_drain

#: To read a workbook again takes long: without an explicit choice, only workbooks received within this time are read.
DEFAULT_WORKBOOK_AGE = timedelta(days=30)
_EXPANDED = (InboundItem.kind == "workbook", InboundItem.state == "settled", InboundItem.disposition == "expanded")


class WorkbookComparison:
    """Compares expanded workbooks with the ledger: one item, or all received after a date."""

    def __init__(self, settings: Settings, database: Database, pool: ParserPool, *, repair: bool) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._repair = repair

    def run_all(self, since: datetime | None, progress: Callable[[int, int], None]) -> SourceComparison:
        """Compare all workbooks received since ``since``; ``progress`` is called with (workbooks done, workbooks).

        Raises only when the database is unavailable.
        """
        statement = select(InboundItem.id).where(*_EXPANDED).order_by(InboundItem.id)
        if since is not None:
            statement = statement.where(InboundItem.received_at >= since)
        with self._database.read() as session:
            ids = list(session.execute(statement).scalars())
        comparison = SourceComparison("workbooks", server=0)
        comparison.notes.append(f"{len(ids):,} workbooks read again" + (f", those since {since:%Y-%m-%d}" if since else ""))
        for done, item_id in enumerate(ids, 1):
            self._compare(comparison, item_id)
            progress(done, len(ids))
        return comparison

    def run_one(self, item_id: int) -> SourceComparison:
        """Compare one workbook. Raises :class:`RefusedError` when the item is not an expanded workbook."""
        with self._database.read() as session:
            found = session.execute(select(InboundItem.id).where(InboundItem.id == item_id, *_EXPANDED)).first()
        if found is None:
            raise RefusedError(
                "unknown_source",
                f"item {item_id} is not an expanded workbook",
                hint="use the item number of an expanded workbook",
            )
        comparison = SourceComparison(str(Source("workbook", str(item_id))), server=0)
        self._compare(comparison, item_id)
        return comparison

    def _compare(self, comparison: SourceComparison, item_id: int) -> None:
        answer, sighted = self._read(item_id)
        comparison.ledger += len(sighted)
        if not isinstance(answer, ParsedWorkbook):
            code = answer.code if isinstance(answer, Refusal | ParseFailure) else "missing_bytes"
            comparison.gaps.append(Gap(f"item {item_id}", "unreadable_workbook", f"cannot be read again ({code})"))
            return
        places = [place_of(row) for row in answer.rows]
        comparison.server = (comparison.server or 0) + len(places)
        missing = [place for place in places if place not in sighted]
        comparison.gaps += [
            Gap(f"item {item_id}: {place}", "unknown_row", "expanded, but not in the ledger") for place in missing
        ]
        if surplus := len(sighted.difference(places)):
            comparison.notes.append(f"item {item_id}: {surplus:,} rows in the ledger are missing when the workbook is read again")
        if missing and self._repair:
            self._expand_again(comparison, item_id, missing)

    def _read(self, item_id: int) -> tuple[ParseAnswer | None, set[str]]:
        with self._database.read() as session:
            item = session.get_one(InboundItem, item_id)
            source = str(Source("workbook", str(item_id)))
            places = select(Sighting.place).where(Sighting.source == source)
            sighted = set(session.execute(places).scalars())
            options = workbook_options(self._settings, item.source, item.extra)
            try:
                raw = blobs.get(session, item.sha256)
            except NoResultFound:
                return None, sighted
        return self._pool.parse([ParseTask("workbook", raw, options)], alone=True)[0], sighted

    def _expand_again(self, comparison: SourceComparison, item_id: int, missing: Sequence[str]) -> None:
        """Return the workbook to the pipeline. To expand it again does not change the rows that the ledger has."""

        def unit(session: Session) -> bool:
            values = {"state": "waiting", "due_at": clock.now(), "alone": True, "attempts": 0, "losses": 0}
            no_outcome = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None}
            statement = update(InboundItem).where(InboundItem.id == item_id, *_EXPANDED).values(**values, **no_outcome)
            return session.execute(statement.returning(InboundItem.id)).first() is not None

        if self._database.transaction(unit):
            request_drain("ingest.drain")
            comparison.mark_repaired({f"item {item_id}: {place}" for place in missing}, "its workbook is expanded again")
