"""The composition root: everything one process needs, put together, and the subscriptions to facts."""

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


#: All in one process: storing, pages and notices go before parsing, or what is parsed piles up before the one that stores it.
PARSER_NICENESS = 5


#: A claim ends twenty seconds after its holder; this comes on top.
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
    """All readers; some decide by the settings."""
    return {**SUBSCRIPTIONS, TicketCompleted.kind: (partial(invitations.on_ticket_completed, settings.surveys),)}


@dataclass
class Services:
    """All parts of one process that works. Close it when done."""

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
        """One batch of inbound items, after giving back what dead workers held."""
        if self._is_recovery_due("ingest"):
            ingest_claims.recover_expired(self.database)
        return self.pipeline.drain()

    def relay(self) -> int:
        """One batch of facts."""
        return relay.relay_batch(self.database, subscriptions(self.settings))

    def notify(self) -> int:
        """One batch of deliveries, after finding out what dead workers held."""
        if self._is_recovery_due("notify"):
            notify_claims.recover_expired(self.database)
        return self._delivery_worker_of_thread().drain()

    def drain(self) -> int:
        """Work on everything that is due until nothing is; returns how many rows were taken."""
        total = 0
        while (taken := self.ingest() + self.relay() + self.notify()) and not self.stopping.is_set():
            total += taken
        return total

    def expire_claims_and_leases(self) -> None:
        """Free what a process that was killed still seems to hold; only for whoever knows to be the only one."""

        def unit(session: Session) -> None:
            now = self.database.now(session)
            leases.expire_all(session)
            ingest_claims.expire_all(session, now)
            notify_claims.expire_all(session, now)

        self.database.transaction(unit)

    def close(self) -> None:
        self.stopping.set()
        for delivering in self._delivery_workers:
            delivering.close()
        self.pipeline.release_queued()
        self.pool.close()
        self.database.close()

    def _is_recovery_due(self, kind: str) -> bool:
        """Whether to look again for what dead workers held: with every batch it would cost more than it finds."""
        now = time.monotonic()
        if now - self._recovered_at.get(kind, -math.inf) < RECOVERY_INTERVAL_SECONDS:
            return False
        self._recovered_at[kind] = now
        return True

    def _delivery_worker_of_thread(self) -> DeliveryWorker:
        """This thread's own: a sender keeps a connection and belongs to one thread."""
        if not hasattr(self._local, "delivering"):
            sender = open_transport(self.settings.mail_out, self.settings.smtp)
            self._local.delivering = DeliveryWorker(
                self.database, self.settings, self.renderer, self.signer, sender, stopping=self.stopping
            )
            self._delivery_workers.append(self._local.delivering)
        delivering: DeliveryWorker = self._local.delivering
        return delivering


def build_services(settings: Settings) -> Services:
    """Everything put together. The parser children start before anything else."""
    niceness = 0 if settings.redis_url else PARSER_NICENESS
    pool = ParserPool(settings.limits, sharers=count_worker_processes(), niceness=niceness)
    database = Database(settings.database)
    signer = signer_for(settings)
    renderer = Renderer(TEMPLATES / "email", zone=ZoneInfo(settings.calendar.zone))
    open_transport(settings.mail_out, settings.smtp).close()
    pipeline = Pipeline(database, settings, pool, signer)
    return Services(settings, database, signer, pool, pipeline, renderer)
