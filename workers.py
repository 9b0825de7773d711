"""Workers: the broker, one thin actor for each drain, and the sweeps of the scheduler.

``dramatiq workers`` imports this module, which reads the settings in force; ``casemill run`` runs the same actors in its own
process. A message only says that a drain may have work. The database is the truth.
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

#: An actor gives its thread back after this long and requests its drain again.
DRAIN_SECONDS = 10.0
#: While the ingest backlog is large, facts, notices and timers wait this long at most, and then run for as long: tickets come
#: first (docs/decisions/batching-and-drain-priority.md).
YIELD_SECONDS = 2.0
#: Open items from which the ingest backlog counts as large. At a hundred arrivals a second thirty or forty are open at a time.
BACKLOG = 75
#: After a batch with fewer rows the drain pauses for GATHER_SECONDS, so that the next batch is larger: a batch of one row costs
#: about as much as a batch of fifty.
SMALL_BATCH = 20
GATHER_SECONDS = 0.15
#: After a batch with this many rows there are likely more, and other threads are asked to help.
LARGE_BATCH = 50
#: A delivery that takes longer waits for the SMTP relay, so that other threads can send meanwhile.
SLOW_DELIVERY_SECONDS = 0.01


class ServicesMiddleware(Middleware):
    """Holds the services of the actors: built when a worker process boots, closed when it shuts down."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Services | None = None
        self._is_shared = False

    @property
    def services(self) -> Services:
        """The services in use. Raises :class:`~core.errors.ConfigurationError` before a worker has booted."""
        if self._services is None:
            raise ConfigurationError("the worker has no services", hint="start it with `dramatiq workers` or `casemill run`")
        return self._services

    def use(self, services: Services) -> None:
        """Use ``services``, which their owner closes."""
        self._services, self._is_shared = services, True

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Tune the process and build its services, unless it uses shared ones."""
        if self._services is not None:
            return
        process_tuning.limit_malloc_arenas()
        # Replaces Dramatiq's own logging, which prints the texts of exceptions.
        logs.configure()
        terminate_with_parent()
        try:
            self._services = build_services(self._settings)
        except ConfigurationError as error:
            # Dramatiq only logs any other exception, and the process would stay up without working.
            raise MiddlewareError(str(error)) from None
        connect_drain_requests()

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        process_tuning.tune_garbage_collector()
        log.info("worker ready")

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """Let running drains stop after their batch."""
        if self._services is not None:
            self._services.stopping.set()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if self._services is not None and not self._is_shared:
            self._services.close()


SETTINGS = configuration.load()
services_middleware = ServicesMiddleware(SETTINGS)
if is_worker_process() and not SETTINGS.redis_url:
    raise ConfigurationError("worker processes need Redis", key="redis_url", hint="set CASEMILL_REDIS_URL, or use `casemill run`")
broker = make_broker(SETTINGS, [services_middleware])
dramatiq.set_broker(broker)


# With Redis another process may start the drain, of which this one is not notified: a short time before the request is resent.
_drain_requests = DrainRequestQueue(lambda name: ACTORS[name].send(), 0.2 if SETTINGS.redis_url else 2.0)
_drain_priority = DrainPriority(YIELD_SECONDS, BACKLOG, _drain_requests.put)
_delivery_concurrency = AdaptiveConcurrency(SLOW_DELIVERY_SECONDS)


def _is_large_batch(taken: int) -> bool:
    return taken >= LARGE_BATCH


def _drain_until_empty(name: str, drain: Callable[[], int], needs_help: Callable[[int], bool] = _is_large_batch) -> None:
    """Call ``drain``, which returns how many rows it took, until nothing is due or DRAIN_SECONDS have passed.

    After a batch for which ``needs_help`` returns True, the drain is requested once more, so that an idle thread joins. An
    exception is logged, and the sweep requests the drain again.
    """
    _drain_requests.mark_started(name)
    deadline = time.monotonic() + DRAIN_SECONDS
    try:
        while (taken := drain()) and not services_middleware.services.stopping.is_set():
            is_over = time.monotonic() > deadline
            if is_over or needs_help(taken):
                _drain_requests.put(name)
            if is_over:
                return
            if taken < SMALL_BATCH:
                services_middleware.services.stopping.wait(GATHER_SECONDS)
    except Exception as error:
        log.error("drain failed, retried by the scheduler", exc_info=error, extra={"drain": name})


def _drain_with_low_priority(name: str, drain: Callable[[], int], needs_help: Callable[[int], bool] = _is_large_batch) -> None:
    """Drain as :func:`_drain_until_empty` does, and yield to ingest before each batch."""

    def drain_once() -> int:
        return drain() if _drain_priority.yield_to_ingest(name, services_middleware.services.pipeline.count_backlog) else 0

    _drain_until_empty(name, drain_once, needs_help)


@dramatiq.actor(actor_name="ingest.drain", queue_name="ingest")
def ingest_drain() -> None:
    """Process inbound items that are due."""
    _drain_until_empty("ingest.drain", lambda: services_middleware.services.ingest())


@dramatiq.actor(actor_name="outbox.drain", queue_name="outbox")
def outbox_drain() -> None:
    """Relay facts that are due."""

    def drain_once() -> int:
        done = services_middleware.services.relay()
        if done:
            failpoint("outbox.relayed")
            _drain_requests.put("notify.drain")
        return done

    _drain_with_low_priority("outbox.drain", drain_once)


@dramatiq.actor(actor_name="notify.drain", queue_name="notify")
def notify_drain() -> None:
    """Send deliveries that are due."""

    def drain_once() -> int:
        started = time.monotonic()
        taken = services_middleware.services.notify()
        _delivery_concurrency.record(taken, time.monotonic() - started)
        return taken

    again = True
    while again and _delivery_concurrency.enter():
        try:
            _drain_with_low_priority("notify.drain", drain_once, lambda _taken: _delivery_concurrency.should_add_thread())
        finally:
            again = _delivery_concurrency.exit()


@dramatiq.actor(actor_name="tickets.due", queue_name="tickets")
def tickets_due() -> None:
    """Raise reminders and escalations that are due."""

    def drain_once() -> int:
        fired = timers.sweep(services_middleware.services.database, services_middleware.services.settings.calendar)
        if fired:
            _drain_requests.put("outbox.drain")
        return fired

    _drain_with_low_priority("tickets.due", drain_once)


@dramatiq.actor(actor_name="surveys.due", queue_name="tickets")
def surveys_due() -> None:
    """Send surveys that are due."""

    def drain_once() -> int:
        fired = invitations.sweep(services_middleware.services.database, services_middleware.services.settings.surveys)
        if fired:
            _drain_requests.put("outbox.drain")
        return fired

    _drain_with_low_priority("surveys.due", drain_once)


_ALL_ACTORS = (ingest_drain, outbox_drain, notify_drain, tickets_due, surveys_due)
ACTORS: Mapping[str, Any] = {actor.actor_name: actor for actor in _ALL_ACTORS}


def connect_drain_requests() -> None:
    """Pass the requests of :func:`runtime.drain_requests.request_drain` to the broker."""
    from runtime import drain_requests

    drain_requests.connect(lambda name: _drain_requests.put(name))


def build_sweeps(database: Database) -> dict[str, Sweep]:
    """Return the sweeps of the scheduler by name. They find work whose drain request was lost within seconds."""
    drains = {name: Sweep(5.0, partial(_drain_requests.put, name)) for name in ACTORS}
    retention = timedelta(days=SETTINGS.retention.facts_days)
    return {
        **drains,
        "clock.mend": Sweep(5.0, partial(clamp_future_due_times, database)),
        "notify.digests": Sweep(60.0, partial(create_digests, database)),
        "outbox.forget": Sweep(3600.0, lambda: relay.delete_done(database, retention)),
        "forms.backfill": Sweep(backfill.CHECK_SECONDS, backfill.BackfillScheduler(SETTINGS.forms, database).start_due),
        "api.forget": Sweep(3600.0, partial(idempotency.delete_expired, database)),
        "ops.alarm": Sweep(alerts.CHECK_SECONDS, alerts.InvariantAlerts(database, SETTINGS).check),
    }


def create_digests(database: Database) -> None:
    """Create the digests that are due, and request their sending."""
    if digests.sweep(database, SETTINGS.calendar):
        _drain_requests.put("notify.drain")


def clamp_future_due_times(database: Database) -> None:
    """Make rows due now that a clock that was ahead has put off; otherwise they would wait for as long as it was ahead."""

    def unit(session: Session) -> None:
        now = database.now(session)
        ingest_claims.clamp_future_due_times(session, now)
        relay.clamp_future_due_times(session, now)
        notify_claims.clamp_future_due_times(session, now)

    database.transaction(unit)
