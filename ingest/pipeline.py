"""The pipeline: claim a batch, parse it in the children, decide, and store it in one transaction. All or nothing."""

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
from ingest.decisions.outcome import Plan, Planner
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger import claims, fingerprints, types
from ingest.ledger.accept import accept
from ingest.ledger.handoff import HandoffQueue
from ingest.ledger.models import InboundItem
from ingest.ledger.types import ClaimedItem, Outcome
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedWorkbook, ParseOptions
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from ingest.workbooks.expand import expand
from outbox.append import append_facts
from runtime.drain_requests import request_drain
from tickets import intake

log = logging.getLogger("casemill.ingest")

#: Kinds that need no parser: rows are our own JSON, and of what could not be fetched there is nothing to read.
UNPARSED = {"row", "unfetched"}


class Pipeline:
    """Drains the ledger. Safe to run in any number of threads and processes."""

    def __init__(self, database: Database, settings: Settings, pool: ParserPool, signer: Signer) -> None:
        self._database = database
        self._settings = settings
        self._pool = pool
        self.planner = Planner(settings, signer)
        self.handoff_queue = HandoffQueue(database, settings.limits.batch)

    def drain(self) -> int:
        """Work on one batch of due items; returns how many it took.

        Raises only when the database is away or no child can be started; the items are given back as they were.
        """
        token, items = self._take()
        if not items:
            return 0
        failpoint("ingest.claimed")
        try:
            with core_claims.renew_periodically(lambda: claims.renew(self._database, token)):
                self._process(token, items)
        except Exception as error:
            log.warning("a batch was not finished", extra={"items": len(items), "error": type(error).__name__})
            if isinstance(error, OSError | CasemillError) or is_unavailable(error):
                self._release(token)
            raise
        return len(items)

    def _take(self) -> tuple[str, Sequence[ClaimedItem]]:
        """What sources of this process handed over, else what is due in the ledger; under which token."""
        batch = self.handoff_queue.take()
        if batch is not None:
            return batch.token, batch.items
        token = core_claims.new_token()
        return token, claims.claim(self._database, token, self._settings.limits.batch)

    def release_queued(self) -> None:
        """Let others have what was handed over and not begun."""
        for token in self.handoff_queue.clear():
            self._release(token)

    def count_backlog(self, most: int) -> int:
        """How many items are in hand or due, here and in other processes; ``most`` are counted."""
        return claims.count_backlog(self._database, most)

    def _release(self, token: str) -> None:
        """Without the database the end of the claim does the same, and counts a loss."""
        with suppress(CasemillError, SQLAlchemyError):
            claims.release(self._database, token)

    def _process(self, token: str, items: Sequence[ClaimedItem]) -> None:
        plans = self._plan(items)
        failpoint("ingest.parsed")
        self._store_all(token, [plan for plan in plans if plan.workbook is None])
        for plan in plans:
            if plan.workbook is not None:
                self._expand(token, plan, plan.workbook)

    def _plan(self, items: Sequence[ClaimedItem]) -> list[Plan]:
        with self._database.read() as session:
            raw = blobs.get_all(session, (item.sha256 for item in items))
        parsed = [item for item in items if item.kind not in UNPARSED and item.losses < types.MAX_LOSSES]
        tasks = [self._task(item, raw[item.sha256]) for item in parsed]
        answers = self._pool.parse(tasks, alone=len(items) == 1)
        by_id: Mapping[int, ParseAnswer] = {item.id: answer for item, answer in zip(parsed, answers, strict=True)}
        return [self._decide(item, raw[item.sha256], by_id.get(item.id), alone=len(items) == 1) for item in items]

    def _decide(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None, *, alone: bool) -> Plan:
        """One item that nobody knows what to do with is a failure of its own and stops no other."""
        try:
            return self.planner.plan(item, raw, answer)
        except Exception as error:
            log.warning("an item could not be decided on", extra={"item": item.id, "error": type(error).__name__})
            return self.planner.plan(item, raw, ParseFailure(type(error).__name__, alone=alone))

    def _task(self, item: ClaimedItem, data: bytes) -> ParseTask:
        if item.kind == "form":
            return ParseTask("form", data, ParseOptions(content_type=item.extra.get("content_type")))
        if item.kind == "workbook":
            return ParseTask("workbook", data, workbook_options(self._settings, item.source, item.extra))
        return ParseTask("mail", data, self.planner.mail_options(item.source))

    def _store_all(self, token: str, plans: Sequence[Plan]) -> None:
        if not plans:
            return
        try:
            self._database.transaction(lambda session: self._store(session, token, plans))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.warning("a batch could not be stored", extra={"items": len(plans), "error": type(error).__name__})
            self._store_alone(token, plans, error)
        failpoint("ingest.stored")
        request_drain("outbox.drain")

    def _store_alone(self, token: str, plans: Sequence[Plan], error: Exception) -> None:
        """One bad item does not spoil the others: each again in its own transaction."""
        if len(plans) == 1:
            self._give_up_or_retry(token, plans[0], error)
            return
        for plan in plans:
            self._store_all(token, [plan])

    def _expand(self, token: str, plan: Plan, workbook: ParsedWorkbook) -> None:
        try:
            expand(self._database, token, plan.item, workbook, self._category(plan.item))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.warning("a workbook could not be stored", extra={"item": plan.item.id, "error": type(error).__name__})
            self._give_up_or_retry(token, plan, error)
        request_drain("ingest.drain")

    def _give_up_or_retry(self, token: str, plan: Plan, error: Exception) -> None:
        item = plan.item
        if item.attempts + 1 < self._settings.limits.attempts:
            code = type(error).__name__
            retry = Plan(item, "failed", Reason(code, "It is tried again"), retry="failed")
            self._database.transaction(lambda session: self._store(session, token, [retry]))
            return
        reason = Reason("not_storable", f"It could not be stored, {item.attempts + 1} times in a row")
        with_ticket = self.planner.quarantine(item, reason)
        try:
            self._database.transaction(lambda session: self._store(session, token, [with_ticket]))
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("an item is set aside without a ticket", extra={"item": item.id, "error": type(error).__name__})
            bare = Plan(item, "quarantined", reason)
            self._database.transaction(lambda session: self._store(session, token, [bare]))

    def _store(self, session: Session, token: str, plans: Sequence[Plan]) -> None:
        now = clock.now()
        ours = claims.lock_claimed(session, token, [plan.item.id for plan in plans])
        plans = [plan for plan in plans if plan.item.id in ours]
        claims.isolate(session, [plan.item.id for plan in plans if plan.retry == "alone"], now)
        for plan in plans:
            if plan.retry == "failed":
                claims.retry(session, plan.item, plan.reason.code, now)
        final = [plan for plan in plans if plan.retry is None]
        originals = fingerprints.claim(session, {p.item.id: p.fingerprint for p in final if p.fingerprint}, now)
        fresh = [plan for plan in final if plan.item.id not in originals]
        known = _accept_children(session, fresh, now)  # blobs before contacts and staff, as intake has it
        outcomes = self._receive(session, fresh)
        failpoint("ingest.storing")
        outcomes += _duplicates(session, originals, outcomes)
        append_facts(session, [plan.fact for plan in fresh if plan.fact is not None], now)
        claims.settle(session, [_with_known(outcome, known) for outcome in outcomes], now)

    def _receive(self, session: Session, plans: Sequence[Plan]) -> list[Outcome]:
        with_ticket = [plan for plan in plans if plan.submission is not None and plan.otherwise is None]
        submissions = [plan.submission for plan in with_ticket if plan.submission is not None]
        received = intake.receive(session, submissions, self._settings, clock.now())
        outcomes = [Outcome(plan.item.id, plan.disposition, plan.reason) for plan in plans if plan.submission is None]
        for plan, result in zip(with_ticket, received, strict=True):
            appended = result.appended and plan.disposition == "ticket"
            disposition, reason = ("appended", result.reason) if appended else (plan.disposition, plan.reason)
            outcomes.append(Outcome(plan.item.id, disposition, reason, result.ticket_id))
        return outcomes + self._add(session, [plan for plan in plans if plan.otherwise is not None])

    def _add(self, session: Session, plans: Sequence[Plan]) -> list[Outcome]:
        """What is only added to tickets that are there. Rare, and after the others: it may answer one of them."""
        if not plans:
            return []
        submissions = [plan.submission for plan in plans if plan.submission is not None]
        outcomes = []
        for plan, added in zip(plans, intake.add(session, submissions, self._settings, clock.now()), strict=True):
            if added is not None:
                outcomes.append(Outcome(plan.item.id, "appended", added.reason, added.ticket_id))
            elif plan.otherwise is not None:
                outcomes.append(Outcome(plan.item.id, plan.otherwise.disposition, plan.otherwise.reason))
        return outcomes

    def _category(self, item: ClaimedItem) -> str:
        kind, _, name = item.source.partition(":")
        if kind == "folder" and name in self._settings.folders:
            return self._settings.folders[name].category
        mailbox = self._settings.mailboxes.get(str(item.extra.get("mailbox", "")))
        return mailbox.category if mailbox else ""


def _accept_children(session: Session, plans: Sequence[Plan], now: datetime) -> dict[int, int]:
    """Accept what came inside; answers item → how many of its children had been there before."""
    children = [(plan.item.id, child) for plan in plans for child in plan.children]
    accepted = accept(session, [child for _, child in children], now)
    return Counter(parent for (parent, _), one in zip(children, accepted, strict=True) if one.known)


def _with_known(outcome: Outcome, known: Mapping[int, int]) -> Outcome:
    if not known.get(outcome.item_id):
        return outcome
    text = f"{outcome.reason.text}; files taken in before: {known[outcome.item_id]}"
    return replace(outcome, reason=Reason(outcome.reason.code, text))


def _duplicates(session: Session, originals: Mapping[int, int], outcomes: Sequence[Outcome]) -> list[Outcome]:
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
