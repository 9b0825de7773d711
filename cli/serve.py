"""The long-running processes: everything in one (`run`), or web server, watchers and scheduler each in its own."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.context import prepare_database

if TYPE_CHECKING:
    from bootstrap import Services
    from core.database.session import Database
    from core.settings import Settings
    from ingest.ledger.handoff import HandoffQueue
    from ingest.parser_pool import ParserPool

    Component = Callable[[Settings, Database, threading.Event], AbstractContextManager[object]]

log = logging.getLogger("casemill.cli")

SHUTDOWN_SECONDS = 10.0
#: Worker threads of the embedded mode: two parse and store in turn, the others relay facts and send mail.
EMBEDDED_WORKER_THREADS = 4


def run(
    before_start: Callable[[Database], None] | None = None, on_ready: Callable[[Settings, Database, str], None] | None = None
) -> None:
    """Run everything in one process until SIGINT or SIGTERM.

    ``before_start`` may prepare the database before anything starts. ``on_ready`` is called with the address of the web server
    when everything runs.
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
        prepare_database(services.database)
        if services.database.is_sqlite:
            services.expire_claims_and_leases()
        if before_start is not None:
            before_start(services.database)
        _sync_teams(services.database, settings)
        stack.enter_context(_run_workers(services))
        stack.enter_context(_run_watchers(settings, services.database, services.pool, stop, services.pipeline.handoff_queue))
        stack.enter_context(_run_scheduler(services.database, stop))
        address = stack.enter_context(_run_web_server(settings, services.database))
        if on_ready is not None:
            on_ready(settings, services.database, address)
        process_tuning.tune_garbage_collector()
        stop.wait()
        services.stopping.set()


def web() -> None:
    """Run only the web server until SIGINT or SIGTERM."""
    _run_component(lambda settings, database, _: _run_web_server(settings, database))


def watch() -> None:
    """Run only the watchers of all mailboxes and folders until SIGINT or SIGTERM.

    The parser processes, which read workbooks for their receipts, start first: before threads, sockets and database.
    """
    import workers
    from ingest.parser_pool import ParserPool

    with closing(ParserPool(workers.SETTINGS.limits)) as pool:
        _run_component(lambda settings, database, stop: _run_watchers(settings, database, pool, stop))


def tick() -> None:
    """Run only the scheduler until SIGINT or SIGTERM."""

    def part(settings: Settings, database: Database, stop: threading.Event) -> AbstractContextManager[object]:
        _sync_teams(database, settings)
        return _run_scheduler(database, stop)

    _run_component(part)


def _run_component(part: Component) -> None:
    """Run one component in this process until SIGINT or SIGTERM."""
    import workers
    from core import logs
    from core.database.session import Database
    from runtime import process_tuning

    process_tuning.limit_malloc_arenas()
    logs.configure()
    with _stop_signals() as stop, closing(Database(workers.SETTINGS.database)) as database:
        prepare_database(database)
        workers.connect_drain_requests()
        with part(workers.SETTINGS, database, stop):
            process_tuning.tune_garbage_collector()
            stop.wait()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second SIGINT ends the process at once."""
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
def _run_workers(services: Services) -> Iterator[None]:
    """Run worker threads in this process, on the broker inside it or on Redis."""
    import workers
    from runtime.broker import make_worker

    workers.services_middleware.use(services)
    workers.connect_drain_requests()
    worker = make_worker(workers.broker, EMBEDDED_WORKER_THREADS)
    worker.start()
    try:
        yield
    finally:
        services.stopping.set()
        worker.stop(timeout=int(SHUTDOWN_SECONDS * 1000))


@contextmanager
def _run_watchers(
    settings: Settings, database: Database, pool: ParserPool, stop: threading.Event, handoff: HandoffQueue | None = None
) -> Iterator[None]:
    from ingest.sources.supervisor import start_watchers as watch_sources
    from ingest.workbooks.expand import make_receipt

    threads = watch_sources(settings, database, stop, partial(make_receipt, database, pool, settings), handoff)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(SHUTDOWN_SECONDS)


@contextmanager
def _run_scheduler(database: Database, stop: threading.Event) -> Iterator[None]:
    import workers
    from runtime.scheduler import Scheduler

    thread = threading.Thread(target=Scheduler(database, workers.build_sweeps(database), stop).run, name="clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SHUTDOWN_SECONDS)


@contextmanager
def _run_web_server(settings: Settings, database: Database) -> Iterator[str]:
    from ops.invariants.checks import check_invariants
    from web.app import create_app
    from web.server import WebServer

    app = create_app(
        settings,
        database,
        status_checks=_readiness_check(settings),
        check_invariants=lambda session: check_invariants(session, settings, database.now(session)),
    )
    server = WebServer(app, settings.web.listen)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def _readiness_check(settings: Settings) -> Callable[[], dict[str, object]]:
    """Return the part of the readiness check that only this process can answer: whether the queue is reachable."""

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


def _sync_teams(database: Database, settings: Settings) -> None:
    """Store the configured teams in the database."""
    from accounts.teams import sync_teams

    for warning in database.transaction(lambda session: sync_teams(session, settings.teams)):
        log.warning("team member is not in the staff list", extra={"team": str(warning).split()[0]})
