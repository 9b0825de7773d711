"""A services for one command: everything put together, the database ready, the teams as configured; and its work done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.single_instance import AlreadyRunningError, single_instance_lock

if TYPE_CHECKING:
    from bootstrap import Services
    from core.database.session import Database
    from core.settings import Settings

#: What another process has in hand, or what is tried again in a moment, is waited for this long without any progress.
MAX_IDLE_SECONDS = 90.0
IDLE_PAUSE_SECONDS = 0.2
COUNT_INTERVAL_SECONDS = 0.5


@contextmanager
def open_services() -> Iterator[Services]:
    """The services of the settings in force. Raises :class:`CasemillError` when they, or the database, cannot be used."""
    from accounts.teams import sync_teams
    from bootstrap import build_services
    from cli.context import prepare_database
    from core import settings

    services = build_services(settings.load())
    try:
        prepare_database(services.database)
        services.database.transaction(lambda session: sync_teams(session, services.settings.teams))
        yield services
    finally:
        services.close()


def is_database_missing(settings: Settings) -> bool:
    """Whether the embedded database has not been made yet."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


@contextmanager
def open_existing_database(settings: Settings) -> Iterator[Database]:
    """The database as it is, for commands that only look: none is made. Raises :class:`CasemillError`."""
    from core import migrations
    from core.database.session import Database
    from core.errors import NotFoundError

    if is_database_missing(settings):
        hint = "go where casemill.toml is, set CASEMILL_CONFIG, or run `casemill init`"
        raise NotFoundError("there is no database here yet", hint=hint)
    database = Database(settings.database)
    try:
        migrations.require_current_schema(database)
        yield database
    finally:
        database.close()


def drain_until(services: Services, left: Callable[[], int], progress: Callable[[int, int], None]) -> int:
    """Drain the ledger until ``left()`` is 0; answers how much is left when nothing moves any more.

    Another process may hold some of it, and a failed item is due again only after a pause: both are waited for.
    """
    total = remaining = left()
    patience = counted = time.monotonic()
    while remaining and time.monotonic() - patience < MAX_IDLE_SECONDS:
        idle = not services.ingest()
        if idle:
            time.sleep(IDLE_PAUSE_SECONDS)
        if not idle and time.monotonic() - counted < COUNT_INTERVAL_SECONDS:
            continue
        before, remaining, counted = remaining, left(), time.monotonic()
        total = max(total, remaining)
        if remaining != before:
            patience = counted
        progress(total - remaining, total)
    return remaining


def deliver_notices(services: Services) -> None:
    """Let facts become deliveries, and send them where no other process does; what does not get through is tried again later.

    A living ``casemill run`` sends by itself. One that starts takes over whatever seems to be held, so sending here holds
    the lock that keeps it from starting.
    """
    if not services.settings.redis_url:
        with suppress(AlreadyRunningError), ExitStack() as stack:
            if services.database.is_sqlite:
                stack.enter_context(single_instance_lock(Path(services.database.url.database or "")))
            services.drain()
        return
    import workers
    from runtime.drain_requests import request_drain

    while services.relay():
        pass
    workers.connect_drain_requests()
    request_drain("notify.drain")
