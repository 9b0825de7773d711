"""The composition root: builds everything that one process needs, and subscribes handlers to facts."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core import leases
from core.database.session import Database
from core.settings import Settings
from core.signing import Signer, signer_for
from ingest.ledger import claims as ingest_claims
from ingest.parser_pool import ParserPool
from ingest.pipeline import Pipeline
from notify import bounces, mailings, staff_messages
from notify import claims as notify_claims
from notify.delivery import DeliveryWorker
from notify.render import Renderer
from notify.transport_factory import open_transport
from outbox import relay
from outbox.facts import (
    BounceReceived,
    NoticeSettled,
    ReportReceived,
    StaffMessageWritten,
    SurveyAnswered,
    SurveyDue,
    TaskRaised,
    TicketAssigned,
    TicketCompleted,
    TicketCreated,
)
from runtime.worker_process import count_worker_processes
from surveys import invitations

TEMPLATES = Path(__file__).resolve().parent / "templates"


#: In the embedded deployment parser processes run at lower priority than storing, pages and notices. Otherwise parsed items
#: pile up before the one thread that stores them (docs/decisions/cores-and-parser-processes.md).
PARSER_NICENESS = 5

#: How often to look for expired claims. It adds to the 20 seconds after which a claim of a dead worker expires.
RECOVERY_INTERVAL_SECONDS = 2.0


SUBSCRIPTIONS: relay.Subscriptions = {
    TicketCreated.kind: (mailings.on_ticket_created,),
    TicketAssigned.kind: (mailings.on_ticket_assigned,),
    NoticeSettled.kind: (mailings.on_notice_settled, invitations.on_notice_settled, staff_messages.on_notice_settled),
    StaffMessageWritten.kind: (staff_messages.on_staff_message_written,),
    TaskRaised.kind: (mailings.on_task_raised,),
    SurveyDue.kind: (mailings.on_survey_due,),
    SurveyAnswered.kind: (mailings.on_survey_answered,),
    BounceReceived.kind: (bounces.on_bounce_received,),
    ReportReceived.kind: (bounces.on_report_received,),
}


def subscriptions(settings: Settings) -> relay.Subscriptions:
    """Return all subscriptions, including those whose handlers depend on ``settings``."""
    return {**SUBSCRIPTIONS, TicketCompleted.kind: (partial(invitations.on_ticket_completed, settings.surveys),)}


@dataclass
class Services:
    """The parts of one working process. Threads share them; the owner calls :meth:`close`."""

    settings: Settings
    database: Database
    signer: Signer
    pool: ParserPool
    pipeline: Pipeline
    renderer: Renderer
    stopping: threading.Event = field(default_factory=threading.Event)
    _recovered_at: dict[str, float] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)
    _delivery_workers: list[DeliveryWorker] = field(default_factory=list)

    def ingest(self) -> int:
        """Process one batch of inbound items, and release expired claims first; return how many items were taken."""
        if self._is_recovery_due("ingest"):
            ingest_claims.recover_expired(self.database)
        return self.pipeline.drain()

    def relay(self) -> int:
        """Relay one batch of facts; return how many were done."""
        return relay.relay_batch(self.database, subscriptions(self.settings))

    def notify(self) -> int:
        """Send one batch of deliveries, and settle expired claims first; return how many deliveries were taken."""
        if self._is_recovery_due("notify"):
            notify_claims.recover_expired(self.database)
        return self._get_delivery_worker().drain()

    def drain(self) -> int:
        """Process everything that is due, until nothing is; return how many rows were taken."""
        total = 0
        while (taken := self.ingest() + self.relay() + self.notify()) and not self.stopping.is_set():
            total += taken
        return total

    def expire_claims_and_leases(self) -> None:
        """Expire all claims and leases, which a killed process may have left. Only for the sole process on the database."""

        def unit(session: Session) -> None:
            now = self.database.now(session)
            leases.expire_all(session)
            ingest_claims.expire_all(session, now)
            notify_claims.expire_all(session, now)

        self.database.transaction(unit)

    def close(self) -> None:
        """Stop, release queued items, and end the parser processes and connections."""
        self.stopping.set()
        for worker in self._delivery_workers:
            worker.close()
        self.pipeline.release_queued()
        self.pool.close()
        self.database.close()

    def _is_recovery_due(self, kind: str) -> bool:
        # Looking for expired claims with every batch would cost more than it finds.
        now = time.monotonic()
        if now - self._recovered_at.get(kind, -math.inf) < RECOVERY_INTERVAL_SECONDS:
            return False
        self._recovered_at[kind] = now
        return True

    def _get_delivery_worker(self) -> DeliveryWorker:
        # One for each thread, because a transport keeps a connection that threads cannot share.
        if not hasattr(self._local, "delivery_worker"):
            transport = open_transport(self.settings.mail_out, self.settings.smtp)
            self._local.delivery_worker = DeliveryWorker(
                self.database, self.settings, self.renderer, self.signer, transport, stopping=self.stopping
            )
            self._delivery_workers.append(self._local.delivery_worker)
        worker: DeliveryWorker = self._local.delivery_worker
        return worker


def build_services(settings: Settings) -> Services:
    """Build all parts of a process. Raises :class:`~core.errors.ConfigurationError` for settings that cannot work.

    1. The parser processes start first, before there are threads, sockets and database connections that they would inherit.
    2. A transport is opened and closed once, so that a wrong ``smtp_url`` fails here and not with the first mail.
    """
    niceness = 0 if settings.redis_url else PARSER_NICENESS
    pool = ParserPool(settings.limits, sharers=count_worker_processes(), niceness=niceness)
    database = Database(settings.database)
    signer = signer_for(settings)
    renderer = Renderer(TEMPLATES / "email", zone=ZoneInfo(settings.calendar.zone))
    open_transport(settings.mail_out, settings.smtp).close()
    pipeline = Pipeline(database, settings, pool, signer)
    return Services(settings, database, signer, pool, pipeline, renderer)
