"""The composition root: everything put together, the broker, a few thin actors, who reads which fact, what the clock does.

``dramatiq workers`` runs this module with the configuration in force; ``casemill run`` runs the same actors in its own
process. The database is the truth: a message only says that there may be work of a name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
from dramatiq import Broker, Middleware
from dramatiq.middleware import MiddlewareError
from sqlalchemy.orm import Session

from accounts import idempotency
from bootstrap import Services, build_services
from core import logs
from core import settings as configuration
from core.database.session import Database
from core.errors import ConfigurationError
from core.failpoints import failpoint
from core.settings import Settings
from ingest.ledger import claims as ingest_claims
from ingest.sources import backfill
from notify import claims as notify_claims
from notify import digests
from ops.invariants import alerts
from outbox import relay
from runtime import process_tuning
from runtime.broker import make_broker
from runtime.concurrency import AdaptiveConcurrency
from runtime.drain_priority import DrainPriority
from runtime.drain_requests import DrainRequestQueue
from runtime.scheduler import Sweep
from runtime.worker_process import is_worker_process, terminate_with_parent
from surveys import invitations
from tickets import timers

log = logging.getLogger("casemill.workers")

#: An actor gives its thread back after this long and asks for another turn.
DRAIN_SECONDS = 10.0
#: While inbound items pile up, facts, notices and timers wait this long at most, and then have as long: tickets come first.
YIELD_SECONDS = 2.0
#: So many open items are a pile: of a hundred that arrive each second, thirty or forty are open at a time.
BACKLOG = 75
#: After so few rows the next ones may gather for a moment: a batch of one costs its row what a batch of fifty costs all of them.
SMALL_BATCH = 20
GATHER_SECONDS = 0.15
#: After so many there are likely more, and others are called to help.
LARGE_BATCH = 50
#: A mail that takes longer waits for the relay, and other threads may send meanwhile.
SLOW_DELIVERY_SECONDS = 0.01


class ServicesMiddleware(Middleware):
    """Where the actors find their services: made when a worker process boots, closed when it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Services | None = None
        self._is_shared = False

    @property
    def services(self) -> Services:
        if self._services is None:
            raise ConfigurationError("the worker has not been started")
        return self._services

    def use(self, services: Services) -> None:
        """Work with this services, which its owner closes."""
        self._services, self._is_shared = services, True

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        if self._services is not None:
            return
        process_tuning.limit_malloc_arenas()
        logs.configure()  # the broker's own way of logging prints exceptions with their texts
        terminate_with_parent()
        try:
            self._services = build_services(self._settings)
        except ConfigurationError as error:
            # Anything else is only logged by the broker, and the process would stay without ever working.
            raise MiddlewareError(str(error)) from None
        connect_drain_requests()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        process_tuning.tune_garbage_collector()
        log.info("ready for work")

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._services is not None:
            self._services.stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._services is not None and not self._is_shared:
            self._services.close()


SETTINGS = configuration.load()
services_middleware = ServicesMiddleware(SETTINGS)
if is_worker_process() and not SETTINGS.redis_url:
    raise ConfigurationError(
        "workers of their own need Redis", key="redis_url", hint="set CASEMILL_REDIS_URL, or use `casemill run`"
    )
broker = make_broker(SETTINGS, [services_middleware])
dramatiq.set_broker(broker)


#: With Redis another process may begin the work, and this one would not hear of it.
_drain_requests = DrainRequestQueue(lambda name: ACTORS[name].send(), 0.2 if SETTINGS.redis_url else 2.0)
_drain_priority = DrainPriority(YIELD_SECONDS, BACKLOG, _drain_requests.put)
_delivery_concurrency = AdaptiveConcurrency(SLOW_DELIVERY_SECONDS)


def _is_large_batch(taken: int) -> bool:
    return taken >= LARGE_BATCH


def _drain_until_empty(name: str, drain: Callable[[], int], share: Callable[[int], bool] = _is_large_batch) -> None:
    """Drain until nothing is due or the turn is over. An exception is logged by its kind; the sweep tries again.

    Where there is more, whoever is idle is called to help if the work is to be shared.
    """
    _drain_requests.mark_started(name)
    ends = time.monotonic() + DRAIN_SECONDS
    try:
        while (taken := drain()) and not services_middleware.services.stopping.is_set():
            is_over = time.monotonic() > ends
            if is_over or share(taken):
                _drain_requests.put(name)
            if is_over:
                return
            if taken < SMALL_BATCH:
                services_middleware.services.stopping.wait(GATHER_SECONDS)
    except Exception as error:
        log.error("a drain failed and is tried again by the clock", exc_info=error, extra={"drain": name})


def _drain_with_low_priority(name: str, drain: Callable[[], int], share: Callable[[int], bool] = _is_large_batch) -> None:
    """The same for work that steps aside for inbound items: one thread does that, and asks again for the work of the others."""

    def turn() -> int:
        return drain() if _drain_priority.yield_to_ingest(name, services_middleware.services.pipeline.count_backlog) else 0

    _drain_until_empty(name, turn, share)


@dramatiq.actor(actor_name="ingest.drain", queue_name="ingest")
def ingest_drain() -> None:
    """Inbound items that are due."""
    _drain_until_empty("ingest.drain", lambda: services_middleware.services.ingest())


@dramatiq.actor(actor_name="outbox.drain", queue_name="outbox")
def outbox_drain() -> None:
    """Facts that are due."""

    def turn() -> int:
        done = services_middleware.services.relay()
        if done:
            failpoint("outbox.relayed")
            _drain_requests.put("notify.drain")
        return done

    _drain_with_low_priority("outbox.drain", turn)


@dramatiq.actor(actor_name="notify.drain", queue_name="notify")
def notify_drain() -> None:
    """Deliveries that are due."""

    def turn() -> int:
        began = time.monotonic()
        taken = services_middleware.services.notify()
        _delivery_concurrency.record(taken, time.monotonic() - began)
        return taken

    again = True
    while again and _delivery_concurrency.enter():
        try:
            _drain_with_low_priority("notify.drain", turn, lambda _taken: _delivery_concurrency.should_add_thread())
        finally:
            again = _delivery_concurrency.exit()


@dramatiq.actor(actor_name="tickets.due", queue_name="tickets")
def tickets_due() -> None:
    """Reminders and escalations whose moment has come."""

    def turn() -> int:
        fired = timers.sweep(services_middleware.services.database, services_middleware.services.settings.calendar)
        if fired:
            _drain_requests.put("outbox.drain")
        return fired

    _drain_with_low_priority("tickets.due", turn)


@dramatiq.actor(actor_name="surveys.due", queue_name="tickets")
def surveys_due() -> None:
    """Surveys whose moment has come."""

    def turn() -> int:
        fired = invitations.sweep(services_middleware.services.database, services_middleware.services.settings.surveys)
        if fired:
            _drain_requests.put("outbox.drain")
        return fired

    _drain_with_low_priority("surveys.due", turn)


_ALL_ACTORS = (ingest_drain, outbox_drain, notify_drain, tickets_due, surveys_due)
ACTORS: Mapping[str, Any] = {actor.actor_name: actor for actor in _ALL_ACTORS}


def connect_drain_requests() -> None:
    """Let :func:`runtime.drain_requests.hint` reach the broker."""
    from runtime import drain_requests

    drain_requests.connect(lambda name: _drain_requests.put(name))


def build_sweeps(database: Database) -> dict[str, Sweep]:
    """What the clock asks for, and how often: whatever was lost on the way is found again within seconds."""
    drains = {name: Sweep(5.0, partial(_drain_requests.put, name)) for name in ACTORS}
    kept = timedelta(days=SETTINGS.retention.facts_days)
    return {
        **drains,
        "clock.mend": Sweep(5.0, partial(clamp_future_due_times, database)),
        "notify.digests": Sweep(60.0, partial(create_digests, database)),
        "outbox.forget": Sweep(3600.0, lambda: relay.delete_done(database, kept)),
        "forms.backfill": Sweep(backfill.EVERY, backfill.Backfilling(SETTINGS.forms, database).look),
        "api.forget": Sweep(3600.0, partial(idempotency.delete_expired, database)),
        "ops.alarm": Sweep(alerts.CHECK_SECONDS, alerts.InvariantAlerts(database, SETTINGS).check),
    }


def create_digests(database: Database) -> None:
    """The digests whose time has come, sent at once."""
    if digests.sweep(database, SETTINGS.calendar):
        _drain_requests.put("notify.drain")


def clamp_future_due_times(database: Database) -> None:
    """Find what a clock that was ahead has put off; whoever waits for its return would wait as long as it was ahead."""

    def unit(session: Session) -> None:
        now = database.now(session)
        ingest_claims.clamp_future_due_times(session, now)
        relay.clamp_future_due_times(session, now)
        notify_claims.clamp_future_due_times(session, now)

    database.transaction(unit)
