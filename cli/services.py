"""The services of a command that works on items itself: open them, drain the ledger, deliver the notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.single_instance import AlreadyRunningError, single_instance_lock

if TYPE_CHECKING:
    from bootstrap import Services

#: Without any progress for this long the command ends: other processes hold items, or their retry is due later.
MAX_IDLE_SECONDS = 90.0
IDLE_PAUSE_SECONDS = 0.2
COUNT_INTERVAL_SECONDS = 0.5


@contextmanager
def open_services() -> Iterator[Services]:
    """Build the services of the current settings. Raises :class:`CasemillError` when settings or database cannot be used."""
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


def drain_until(services: Services, left: Callable[[], int], progress: Callable[[int, int], None]) -> int:
    """Drain the ledger until ``left()`` is 0, and return how many items are left when there is no more progress.

    Another process may hold some items, and a failed item is due again only after its back-off: the function waits for both.
    ``progress`` is called with the items done and the total.
    """
    total = remaining = left()
    progressed = counted = time.monotonic()
    while remaining and time.monotonic() - progressed < MAX_IDLE_SECONDS:
        idle = not services.ingest()
        if idle:
            time.sleep(IDLE_PAUSE_SECONDS)
        if not idle and time.monotonic() - counted < COUNT_INTERVAL_SECONDS:
            continue
        before, remaining, counted = remaining, left(), time.monotonic()
        total = max(total, remaining)
        if remaining != before:
            progressed = counted
        progress(total - remaining, total)
    return remaining


def deliver_notices(services: Services) -> None:
    """Turn facts into deliveries and send them, unless another process does. A mail that fails is tried again later.

    With SQLite, a running ``casemill run`` sends them. One that starts meanwhile would take over all claims, so this function
    holds the single-instance lock while it sends. With Redis, the workers send them.
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
