"""The composition root: everything put together, the broker, a few thin actors, who reads which fact, what the clock does.

``dramatiq workers`` runs this module with the configuration in force; ``casemill run`` runs the same actors in its own
process. The database is the truth: a message only says that there may be work of a name.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dramatiq
from dramatiq import Broker, Middleware
from dramatiq.middleware import MiddlewareError
from sqlalchemy.orm import Session

from accounts import api_answers
from core import arenas, collector, leases, logs
from core import settings as configuration
from core.broker import make_broker
from core.crew import Crew
from core.db import Database
from core.errors import ConfigurationError
from core.failpoints import failpoint
from core.hinting import Hints
from core.precedence import Precedence
from core.settings import Settings
from core.signing import Signer, signer_for
from core.sweeps import Sweep
from core.worker_process import count_siblings, end_with_parent, is_worker_process
from ingest import claims as ingest_claims
from ingest.children import ParserPool
from ingest.pipeline import Pipeline
from ingest.sources import backfill
from notify import bounces, digests, letters, mailings
from notify import claims as notify_claims
from notify.delivery import Delivering
from notify.render import Renderer
from notify.senders import sender_for
from ops import alarm
from outbox import relay
from outbox.facts import (
    BounceReceived,
    LetterWritten,
    NoticeSettled,
    ReportReceived,
    SurveyAnswered,
    SurveyDue,
    TaskRaised,
    TicketAssigned,
    TicketCompleted,
    TicketCreated,
)
from surveys import invitations
from tickets import due

log = logging.getLogger("casemill.workers")

TEMPLATES = Path(__file__).resolve().parent / "templates"
#: An actor gives its thread back after this long and asks for another turn.
TURN_SECONDS = 10.0
#: While inbound items pile up, facts, notices and timers wait this long at most, and then have as long: tickets come first.
STEP_ASIDE_SECONDS = 2.0
#: So many open items are a pile: of a hundred that arrive each second, thirty or forty are open at a time.
PILE = 75
#: After so few rows the next ones may gather for a moment: a batch of one costs its row what a batch of fifty costs all of them.
FEW = 20
GATHER_SECONDS = 0.15
#: After so many there are likely more, and others are called to help.
MANY = 50
#: All in one process: storing, pages and notices go before parsing, or what is parsed piles up before the one that stores it.
NICENESS = 5
#: A claim ends twenty seconds after its holder; this comes on top.
RECOVER_SECONDS = 2.0
#: A mail that takes longer waits for the relay, and other threads may send meanwhile.
SLOW_SECONDS = 0.01

SUBSCRIPTIONS: relay.Subscriptions = {
    TicketCreated.kind: (mailings.on_ticket_created,),
    TicketAssigned.kind: (mailings.on_ticket_assigned,),
    NoticeSettled.kind: (mailings.on_notice_settled, invitations.on_notice_settled, letters.on_notice_settled),
    LetterWritten.kind: (letters.on_letter_written,),
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
class Mill:
    """All parts of one process that works. Close it when done."""

    settings: Settings
    database: Database
    signer: Signer
    pool: ParserPool
    pipeline: Pipeline
    renderer: Renderer
    stopping: threading.Event = field(default_factory=threading.Event)
    _recovered: dict[str, float] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)
    _delivering: list[Delivering] = field(default_factory=list)

    def ingest(self) -> int:
        """One batch of inbound items, after giving back what dead workers held."""
        if self._is_time("ingest"):
            ingest_claims.recover(self.database)
        return self.pipeline.drain()

    def relay(self) -> int:
        """One batch of facts."""
        return relay.run(self.database, subscriptions(self.settings))

    def notify(self) -> int:
        """One batch of deliveries, after finding out what dead workers held."""
        if self._is_time("notify"):
            notify_claims.recover(self.database)
        return self._own_delivering().drain()

    def drain(self) -> int:
        """Work on everything that is due until nothing is; returns how many rows were taken."""
        total = 0
        while (taken := self.ingest() + self.relay() + self.notify()) and not self.stopping.is_set():
            total += taken
        return total

    def take_over(self) -> None:
        """Free what a process that was killed still seems to hold; only for whoever knows to be the only one."""

        def unit(session: Session) -> None:
            now = self.database.now(session)
            leases.expire_all(session)
            ingest_claims.expire_all(session, now)
            notify_claims.expire_all(session, now)

        self.database.run(unit)

    def close(self) -> None:
        self.stopping.set()
        for delivering in self._delivering:
            delivering.close()
        self.pipeline.give_back()
        self.pool.close()
        self.database.close()

    def _is_time(self, kind: str) -> bool:
        """Whether to look again for what dead workers held: with every batch it would cost more than it finds."""
        now = time.monotonic()
        if now - self._recovered.get(kind, -math.inf) < RECOVER_SECONDS:
            return False
        self._recovered[kind] = now
        return True

    def _own_delivering(self) -> Delivering:
        """This thread's own: a sender keeps a connection and belongs to one thread."""
        if not hasattr(self._local, "delivering"):
            sender = sender_for(self.settings.mail_out, self.settings.smtp)
            self._local.delivering = Delivering(
                self.database, self.settings, self.renderer, self.signer, sender, stopping=self.stopping
            )
            self._delivering.append(self._local.delivering)
        delivering: Delivering = self._local.delivering
        return delivering


def build(settings: Settings) -> Mill:
    """Everything put together. The parser children start before anything else."""
    niceness = 0 if settings.redis_url else NICENESS
    pool = ParserPool(settings.limits, sharers=count_siblings(), niceness=niceness)
    database = Database(settings.database)
    signer = signer_for(settings)
    renderer = Renderer(TEMPLATES / "email", zone=ZoneInfo(settings.calendar.zone))
    sender_for(settings.mail_out, settings.smtp).close()
    pipeline = Pipeline(database, settings, pool, signer)
    return Mill(settings, database, signer, pool, pipeline, renderer)


class Floor(Middleware):
    """Where the actors find their mill: made when a worker process boots, closed when it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mill: Mill | None = None
        self._given = False

    @property
    def mill(self) -> Mill:
        if self._mill is None:
            raise ConfigurationError("the worker has not been started")
        return self._mill

    def use(self, mill: Mill) -> None:
        """Work with this mill, which its owner closes."""
        self._mill, self._given = mill, True

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        if self._mill is not None:
            return
        arenas.limit()
        logs.configure()  # the broker's own way of logging prints exceptions with their texts
        end_with_parent()
        try:
            self._mill = build(self._settings)
        except ConfigurationError as error:
            # Anything else is only logged by the broker, and the process would stay without ever working.
            raise MiddlewareError(str(error)) from None
        connect_hints()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        collector.calm()
        log.info("ready for work")

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._mill is not None:
            self._mill.stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._mill is not None and not self._given:
            self._mill.close()


SETTINGS = configuration.load()
FLOOR = Floor(SETTINGS)
if is_worker_process() and not SETTINGS.redis_url:
    raise ConfigurationError(
        "workers of their own need Redis", key="redis_url", mend="set CASEMILL_REDIS_URL, or use `casemill run`"
    )
broker = make_broker(SETTINGS, [FLOOR])
dramatiq.set_broker(broker)


#: With Redis another process may begin the work, and this one would not hear of it.
_hints = Hints(lambda name: ACTORS[name].send(), 0.2 if SETTINGS.redis_url else 2.0)
_precedence = Precedence(STEP_ASIDE_SECONDS, PILE, _hints.put)
_senders = Crew(SLOW_SECONDS)


def _are_many(taken: int) -> bool:
    return taken >= MANY


def _work(name: str, drain: Callable[[], int], share: Callable[[int], bool] = _are_many) -> None:
    """Drain until nothing is due or the turn is over. An exception is logged by its kind; the sweep tries again.

    Where there is more, whoever is idle is called to help if the work is to be shared.
    """
    _hints.begun(name)
    ends = time.monotonic() + TURN_SECONDS
    try:
        while (taken := drain()) and not FLOOR.mill.stopping.is_set():
            is_over = time.monotonic() > ends
            if is_over or share(taken):
                _hints.put(name)
            if is_over:
                return
            if taken < FEW:
                FLOOR.mill.stopping.wait(GATHER_SECONDS)
    except Exception as error:
        log.error("a drain failed and is tried again by the clock", exc_info=error, extra={"drain": name})


def _work_behind(name: str, drain: Callable[[], int], share: Callable[[int], bool] = _are_many) -> None:
    """The same for work that steps aside for inbound items: one thread does that, and asks again for the work of the others."""

    def turn() -> int:
        return drain() if _precedence.step_aside(name, FLOOR.mill.pipeline.count_open) else 0

    _work(name, turn, share)


@dramatiq.actor(actor_name="ingest.drain", queue_name="ingest")
def ingest_drain() -> None:
    """Inbound items that are due."""
    _work("ingest.drain", lambda: FLOOR.mill.ingest())


@dramatiq.actor(actor_name="outbox.drain", queue_name="outbox")
def outbox_drain() -> None:
    """Facts that are due."""

    def turn() -> int:
        done = FLOOR.mill.relay()
        if done:
            failpoint("outbox.relayed")
            _hints.put("notify.drain")
        return done

    _work_behind("outbox.drain", turn)


@dramatiq.actor(actor_name="notify.drain", queue_name="notify")
def notify_drain() -> None:
    """Deliveries that are due."""

    def turn() -> int:
        began = time.monotonic()
        taken = FLOOR.mill.notify()
        _senders.note(taken, time.monotonic() - began)
        return taken

    again = True
    while again and _senders.join():
        try:
            _work_behind("notify.drain", turn, lambda _taken: _senders.wants_more())
        finally:
            again = _senders.leave()


@dramatiq.actor(actor_name="tickets.due", queue_name="tickets")
def tickets_due() -> None:
    """Reminders and escalations whose moment has come."""

    def turn() -> int:
        fired = due.sweep(FLOOR.mill.database, FLOOR.mill.settings.calendar)
        if fired:
            _hints.put("outbox.drain")
        return fired

    _work_behind("tickets.due", turn)


@dramatiq.actor(actor_name="surveys.due", queue_name="tickets")
def surveys_due() -> None:
    """Surveys whose moment has come."""

    def turn() -> int:
        fired = invitations.sweep(FLOOR.mill.database, FLOOR.mill.settings.surveys)
        if fired:
            _hints.put("outbox.drain")
        return fired

    _work_behind("surveys.due", turn)


_ALL = (ingest_drain, outbox_drain, notify_drain, tickets_due, surveys_due)
ACTORS: Mapping[str, Any] = {actor.actor_name: actor for actor in _ALL}


def connect_hints() -> None:
    """Let :func:`core.hints.hint` reach the broker."""
    from core import hints

    hints.connect(lambda name: _hints.put(name))


def sweeps(database: Database) -> dict[str, Sweep]:
    """What the clock asks for, and how often: whatever was lost on the way is found again within seconds."""
    drains = {name: Sweep(5.0, partial(_hints.put, name)) for name in ACTORS}
    kept = timedelta(days=SETTINGS.retention.facts_days)
    return {
        **drains,
        "clock.mend": Sweep(5.0, partial(bring_forward, database)),
        "notify.digests": Sweep(60.0, partial(make_digests, database)),
        "outbox.forget": Sweep(3600.0, lambda: relay.forget(database, kept)),
        "forms.backfill": Sweep(backfill.EVERY, backfill.Backfilling(SETTINGS.forms, database).look),
        "api.forget": Sweep(3600.0, partial(api_answers.forget, database)),
        "ops.alarm": Sweep(alarm.EVERY, alarm.Alarm(database, SETTINGS).look),
    }


def make_digests(database: Database) -> None:
    """The digests whose time has come, sent at once."""
    if digests.sweep(database, SETTINGS.calendar):
        _hints.put("notify.drain")


def bring_forward(database: Database) -> None:
    """Find what a clock that was ahead has put off; whoever waits for its return would wait as long as it was ahead."""

    def unit(session: Session) -> None:
        now = database.now(session)
        ingest_claims.bring_forward(session, now)
        relay.bring_forward(session, now)
        notify_claims.bring_forward(session, now)

    database.run(unit)
