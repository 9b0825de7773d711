"""The processes: everything in one (`run`), or web, watchers and clock each alone beside `dramatiq workers`."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.context import prepare

if TYPE_CHECKING:
    from bootstrap import Services
    from core.database.session import Database
    from core.settings import Settings
    from ingest.ledger.handoff import HandoffQueue
    from ingest.parser_pool import ParserPool

    Part = Callable[[Settings, Database, threading.Event], AbstractContextManager[object]]

log = logging.getLogger("casemill.serve")

STOP_SECONDS = 10.0
#: Threads that drain in the embedded mode: two parse and store in turns, the others relay and send.
EMBEDDED_THREADS = 4


def run(first: Callable[[Database], None] | None = None, ready: Callable[[Settings, Database, str], None] | None = None) -> None:
    """Everything in one process until SIGINT or SIGTERM.

    ``first`` may prepare the database before anything starts; ``ready`` is told the web address once all is up.
    """
    import workers
    from bootstrap import build_services
    from core import logs
    from runtime import process_tuning
    from runtime.single_instance import single_instance_lock

    process_tuning.limit_malloc_arenas()
    logs.configure()
    settings = workers.SETTINGS
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_signals())
        services = build_services(settings)
        stack.callback(services.close)
        if services.database.is_sqlite:
            stack.enter_context(single_instance_lock(Path(services.database.url.database or "")))
        prepare(services.database)
        if services.database.is_sqlite:
            services.take_over()
        if first is not None:
            first(services.database)
        _sync(services.database, settings)
        stack.enter_context(_workers(services))
        stack.enter_context(_watchers(settings, services.database, services.pool, stop, services.pipeline.handoff_queue))
        stack.enter_context(_clock(services.database, stop))
        address = stack.enter_context(_web(settings, services.database))
        if ready is not None:
            ready(settings, services.database, address)
        process_tuning.tune_garbage_collector()
        stop.wait()
        services.stopping.set()


def web() -> None:
    """The web server alone."""
    _serve_alone(lambda settings, database, _: _web(settings, database))


def watch() -> None:
    """The watchers of all mailboxes and folders alone; the parser children, for receipts, start first."""
    import workers
    from ingest.parser_pool import ParserPool

    with closing(ParserPool(workers.SETTINGS.limits)) as pool:
        _serve_alone(lambda settings, database, stop: _watchers(settings, database, pool, stop))


def tick() -> None:
    """The clock alone."""

    def part(settings: Settings, database: Database, stop: threading.Event) -> AbstractContextManager[object]:
        _sync(database, settings)
        return _clock(database, stop)

    _serve_alone(part)


def _serve_alone(part: Part) -> None:
    """One part of casemill in this process until SIGINT or SIGTERM."""
    import workers
    from core import logs
    from core.database.session import Database
    from runtime import process_tuning

    process_tuning.limit_malloc_arenas()
    logs.configure()
    with _stop_signals() as stop, closing(Database(workers.SETTINGS.database)) as database:
        prepare(database)
        workers.connect_drain_requests()
        with part(workers.SETTINGS, database, stop):
            process_tuning.tune_garbage_collector()
            stop.wait()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second SIGINT ends the process at once."""
    stop = threading.Event()

    def handle(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            signal.default_int_handler(number, _frame)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _workers(services: Services) -> Iterator[None]:
    """Worker threads in this process, on the broker inside it or on Redis."""
    import dramatiq

    import workers

    workers.services_middleware.use(services)
    workers.connect_drain_requests()
    worker = dramatiq.Worker(workers.broker, worker_timeout=200, worker_threads=EMBEDDED_THREADS)
    worker.start()
    try:
        yield
    finally:
        services.stopping.set()
        worker.stop(timeout=int(STOP_SECONDS * 1000))


@contextmanager
def _watchers(
    settings: Settings, database: Database, pool: ParserPool, stop: threading.Event, intray: HandoffQueue | None = None
) -> Iterator[None]:
    from ingest.sources.supervisor import watch as watch_sources
    from ingest.workbooks.expand import receipt

    threads = watch_sources(settings, database, stop, partial(receipt, database, pool, settings), intray)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)


@contextmanager
def _clock(database: Database, stop: threading.Event) -> Iterator[None]:
    import workers
    from runtime.scheduler import Scheduler

    thread = threading.Thread(target=Scheduler(database, workers.sweeps(database), stop).run, name="clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_SECONDS)


@contextmanager
def _web(settings: Settings, database: Database) -> Iterator[str]:
    from ops.invariants.checks import check
    from web.app import create
    from web.server import WebServer

    app = create(
        settings, database, status=_status(settings), judge=lambda session: check(session, settings, database.now(session))
    )
    server = WebServer(app, settings.web.listen)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def _status(settings: Settings) -> Callable[[], dict[str, object]]:
    """What readiness asks of this process besides the database: the queue."""

    def check() -> dict[str, object]:
        if not settings.redis_url:
            return {}
        import workers

        client = getattr(workers.broker, "client", None)
        try:
            return {"queue": "ok" if client is not None and client.ping() else "Redis does not answer"}
        except Exception as error:
            return {"queue": f"Redis does not answer ({type(error).__name__})"}

    return check


def _sync(database: Database, settings: Settings) -> None:
    """Teams of the configuration become teams of the database."""
    from accounts.teams import sync_teams

    for warning in database.transaction(lambda session: sync_teams(session, settings.teams)):
        log.warning("a team names somebody who is not on the staff", extra={"team": str(warning).split()[0]})
