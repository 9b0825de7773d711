"""Pipeline: claim a batch, parse it in the parser processes, decide, and store it in one transaction, all or nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import blobs, clock
from core import claims as core_claims
from core.database.in_lists import in_list
from core.database.session import Database, is_unavailable
from core.errors import CasemillError
from core.failpoints import failpoint
from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer
from ingest.decisions.outcome import (
    AppendToTicket,
    CreateTicket,
    ExpandMail,
    ExpandWorkbook,
    FinalPlan,
    Isolate,
    Plan,
    Planner,
    Retry,
    Settle,
)
from ingest.decisions.workbook_rules import row_category
from ingest.ledger import claims, fingerprints
from ingest.ledger.accept import accept
from ingest.ledger.handoff import HandoffQueue
from ingest.ledger.models import InboundItem
from ingest.ledger.types import MAX_LOSSES, UNPARSED_KINDS, ClaimedItem, Outcome
from ingest.parser_pool import ParserPool
from ingest.parsers.worker import ParseAnswer, ParseFailure
from ingest.workbooks.expand import expand
from outbox.append import append_facts
from runtime.drain_requests import request_drain
from tickets import intake

log = logging.getLogger("casemill.ingest")

#: A plan that :meth:`Pipeline._store` writes; workbooks are expanded in transactions of their own.
StorablePlan = FinalPlan | Isolate | Retry


class Pipeline:
    """Drains the ledger; safe to run in any number of threads and processes."""

    def __init__(self, database: Database, settings: Settings, pool: ParserPool, signer: Signer) -> None:
        self._database = database
        self._settings = settings
        self._pool = pool
        self.planner = Planner(settings, signer)
        self.handoff_queue = HandoffQueue(database, settings.limits.batch)

    def drain(self) -> int:
        """Process one batch of due items and return how many it had.

        Raises only when the database is unavailable or no parser process can be started; the items are then released unchanged.
        """
        token, items = self._next_batch()
        if not items:
            return 0
        failpoint("ingest.claimed")
        try:
            with core_claims.renew_periodically(lambda: claims.renew(self._database, token)):
                self._process(token, items)
        except Exception as error:
            log.warning("ingest batch not finished", extra={"items": len(items), "error": type(error).__name__})
            if isinstance(error, OSError | CasemillError) or is_unavailable(error):
                self._release(token)
            raise
        return len(items)

    def release_queued(self) -> None:
        """Release the batches of the hand-off queue that no worker has begun; other processes may then claim them."""
        for token in self.handoff_queue.clear():
            self._release(token)

    def count_backlog(self, limit: int) -> int:
        """Return how many items are due or claimed, in this process and others; counting stops at ``limit``."""
        return claims.count_backlog(self._database, limit)

    def _next_batch(self) -> tuple[str, Sequence[ClaimedItem]]:
        """Return a claim token and its items: from the hand-off queue, else from the ledger."""
        batch = self.handoff_queue.take()
        if batch is not None:
            return batch.token, batch.items
        token = core_claims.new_token()
        return token, claims.claim(self._database, token, self._settings.limits.batch)

    def _release(self, token: str) -> None:
        """Release a claim; without the database it expires instead, which counts a loss."""
        with suppress(CasemillError, SQLAlchemyError):
            claims.release(self._database, token)

    def _process(self, token: str, items: Sequence[ClaimedItem]) -> None:
        plans = self._plan(items)
        failpoint("ingest.parsed")
        self._store_all(token, [plan for plan in plans if not isinstance(plan, ExpandWorkbook)])
        for plan in plans:
            if isinstance(plan, ExpandWorkbook):
                self._expand(token, plan)

    def _plan(self, items: Sequence[ClaimedItem]) -> list[Plan]:
        with self._database.read() as session:
            raw = blobs.get_all(session, (item.sha256 for item in items))
        parsed = [item for item in items if item.kind not in UNPARSED_KINDS and item.losses < MAX_LOSSES]
        tasks = [self.planner.parse_task(item, raw[item.sha256]) for item in parsed]
        answers = self._pool.parse(tasks, alone=len(items) == 1)
        by_id: Mapping[int, ParseAnswer] = {item.id: answer for item, answer in zip(parsed, answers, strict=True)}
        return [self._decide(item, raw[item.sha256], by_id.get(item.id), alone=len(items) == 1) for item in items]

    def _decide(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None, *, alone: bool) -> Plan:
        """Plan one item; an exception is a failure of this item and does not stop the others."""
        try:
            return self.planner.plan(item, raw, answer)
        except Exception as error:
            log.warning("ingest decision failed", extra={"item": item.id, "error": type(error).__name__})
            return self.planner.plan(item, raw, ParseFailure(type(error).__name__, alone=alone))

    def _store_all(self, token: str, plans: Sequence[StorablePlan]) -> None:
        if not plans:
            return
        try:
            self._database.transaction(lambda session: self._store(session, token, plans))
        except Exception as error:
            if is_unavailable(error):
                raise
            self._store_separately(token, plans, error)
        failpoint("ingest.stored")
        request_drain("outbox.drain")

    def _store_separately(self, token: str, plans: Sequence[StorablePlan], error: Exception) -> None:
        """After a rollback, store each plan in a transaction of its own: one bad item must not stop the others."""
        if len(plans) == 1:
            item = plans[0].item
            log.warning("ingest item could not be stored", extra={"item": item.id, "error": type(error).__name__})
            self._retry_or_quarantine(token, item, error)
            return
        log.warning("ingest batch rolled back, storing one by one", extra={"items": len(plans), "error": type(error).__name__})
        for plan in plans:
            self._store_all(token, [plan])

    def _expand(self, token: str, plan: ExpandWorkbook) -> None:
        item = plan.item
        try:
            expand(self._database, token, item, plan.workbook, row_category(self._settings, item.source, item.extra))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.warning("workbook expansion failed", extra={"item": item.id, "error": type(error).__name__})
            self._retry_or_quarantine(token, item, error)
        request_drain("ingest.drain")

    def _retry_or_quarantine(self, token: str, item: ClaimedItem, error: Exception) -> None:
        attempts = item.attempts + 1
        if attempts < self._settings.limits.attempts:
            self._store_one(token, Retry(item, Reason(type(error).__name__, "It is retried later")))
            return
        reason = Reason("not_storable", f"It could not be stored, {attempts} times in a row")
        try:
            self._store_one(token, self.planner.quarantine(item, reason))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("ingest item quarantined without ticket", extra={"item": item.id, "error": type(error).__name__})
            self._store_one(token, Settle(item, "quarantined", reason))

    def _store_one(self, token: str, plan: StorablePlan) -> None:
        self._database.transaction(lambda session: self._store(session, token, [plan]))

    def _store(self, session: Session, token: str, plans: Sequence[StorablePlan]) -> None:
        """Write the outcomes of a batch in the caller's transaction; the order of locks and writes is fixed."""
        now = clock.now()
        # 1. Lock the items and drop those whose claim was lost: another worker decides them, and every later write relies on it.
        claimed = claims.lock_claimed(session, token, [plan.item.id for plan in plans])
        isolated: list[int] = []
        failed: list[Retry] = []
        final: list[FinalPlan] = []
        for plan in (plan for plan in plans if plan.item.id in claimed):
            match plan:
                case Isolate():
                    isolated.append(plan.item.id)
                case Retry():
                    failed.append(plan)
                case _:
                    final.append(plan)
        # 2. Return failed items to waiting: they need nothing of what follows.
        claims.isolate(session, isolated, now)
        for retry in failed:
            claims.retry(session, retry.item, retry.reason.code, now)
        # 3. Claim fingerprints before anything is created: a duplicate must create no ticket and no fact.
        originals = fingerprints.claim(session, {plan.item.id: plan.fingerprint for plan in final if plan.fingerprint}, now)
        new = [plan for plan in final if plan.item.id not in originals]
        # 4. Accept attached workbooks. It writes blobs, and intake takes locks in the order blobs, contacts, staff.
        known_counts = _accept_attached(session, new, now)
        # 5. Create tickets and append to them.
        outcomes = self._receive(session, new)
        failpoint("ingest.storing")
        # 6. Duplicates follow intake: their original may have got its ticket in this very batch.
        outcomes += _duplicate_outcomes(session, originals, outcomes)
        # 7. Facts, in the transaction of the change they report.
        append_facts(session, [plan.fact for plan in new if not isinstance(plan, ExpandMail) and plan.fact is not None], now)
        # 8. Settle last: it needs the tickets' ids, and releases the claim.
        claims.settle(session, [_mention_known(outcome, known_counts) for outcome in outcomes], now)

    def _receive(self, session: Session, plans: Sequence[FinalPlan]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        created: list[CreateTicket] = []
        appended: list[AppendToTicket] = []
        for plan in plans:
            match plan:
                case ExpandMail() | Settle():
                    outcomes.append(Outcome(plan.item.id, plan.disposition, plan.reason))
                case CreateTicket():
                    created.append(plan)
                case AppendToTicket():
                    appended.append(plan)
        outcomes += self._create_tickets(session, created)
        # After the new tickets: the mail may belong to one of them.
        return outcomes + self._append_to_tickets(session, appended)

    def _create_tickets(self, session: Session, plans: Sequence[CreateTicket]) -> list[Outcome]:
        outcomes = []
        results = intake.receive(session, [plan.submission for plan in plans], self._settings, clock.now())
        for plan, result in zip(plans, results, strict=True):
            is_appended = result.appended and plan.disposition == "ticket"
            disposition, reason = ("appended", result.reason) if is_appended else (plan.disposition, plan.reason)
            outcomes.append(Outcome(plan.item.id, disposition, reason, result.ticket_id))
        return outcomes

    def _append_to_tickets(self, session: Session, plans: Sequence[AppendToTicket]) -> list[Outcome]:
        if not plans:
            return []
        outcomes = []
        results = intake.add(session, [plan.submission for plan in plans], self._settings, clock.now())
        for plan, result in zip(plans, results, strict=True):
            if result is not None:
                outcomes.append(Outcome(plan.item.id, "appended", result.reason, result.ticket_id))
            else:
                outcomes.append(Outcome(plan.item.id, plan.fallback.disposition, plan.fallback.reason))
        return outcomes


def _accept_attached(session: Session, plans: Sequence[FinalPlan], now: datetime) -> dict[int, int]:
    """Accept the workbooks attached to mails; returns item id of the mail → how many of them the ledger had before."""
    attached = [(plan.item.id, arrival) for plan in plans if isinstance(plan, ExpandMail) for arrival in plan.arrivals]
    accepted = accept(session, [arrival for _, arrival in attached], now)
    return Counter(parent for (parent, _), one in zip(attached, accepted, strict=True) if one.known)


def _mention_known(outcome: Outcome, known_counts: Mapping[int, int]) -> Outcome:
    if not known_counts.get(outcome.item_id):
        return outcome
    text = f"{outcome.reason.text}; files received before: {known_counts[outcome.item_id]}"
    return replace(outcome, reason=Reason(outcome.reason.code, text))


def _duplicate_outcomes(session: Session, originals: Mapping[int, int], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of duplicates, with the tickets of their originals (item id → id of the original)."""
    if not originals:
        return []
    tickets = {outcome.item_id: outcome.ticket_id for outcome in outcomes}
    earlier = set(originals.values()) - set(tickets)
    rows = session.execute(select(InboundItem.id, InboundItem.ticket_id).where(in_list(InboundItem.id, earlier)))
    tickets |= {item_id: ticket_id for item_id, ticket_id in rows}  # noqa: C416 - rows are no pairs to mypy
    return [
        Outcome(
            item_id,
            "duplicate",
            Reason("same_content", f"The same mail arrived before, as item {original}"),
            tickets.get(original),
        )
        for item_id, original in originals.items()
    ]
