"""A mill for one command: everything put together, the database ready, the teams as configured; and its work done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.soleness import AlreadyRunningError, sole

if TYPE_CHECKING:
    from core.db import Database
    from core.settings import Settings
    from workers import Mill

#: What another process has in hand, or what is tried again in a moment, is waited for this long without any progress.
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.2
COUNT_SECONDS = 0.5


@contextmanager
def open_mill() -> Iterator[Mill]:
    """The mill of the settings in force. Raises :class:`CasemillError` when they, or the database, cannot be used."""
    import workers
    from accounts.teams import sync_teams
    from cli.context import prepare
    from core import settings

    mill = workers.build(settings.load())
    try:
        prepare(mill.database)
        mill.database.run(lambda session: sync_teams(session, mill.settings.teams))
        yield mill
    finally:
        mill.close()


def is_missing(settings: Settings) -> bool:
    """Whether the embedded database has not been made yet."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


@contextmanager
def open_existing(settings: Settings) -> Iterator[Database]:
    """The database as it is, for commands that only look: none is made. Raises :class:`CasemillError`."""
    from core import migrations
    from core.db import Database
    from core.errors import NotFoundError

    if is_missing(settings):
        mend = "go where casemill.toml is, set CASEMILL_CONFIG, or run `casemill init`"
        raise NotFoundError("there is no database here yet", mend=mend)
    database = Database(settings.database)
    try:
        migrations.require(database)
        yield database
    finally:
        database.close()


def work_until(mill: Mill, left: Callable[[], int], progress: Callable[[int, int], None]) -> int:
    """Drain the ledger until ``left()`` is 0; answers how much is left when nothing moves any more.

    Another process may hold some of it, and a failed item is due again only after a pause: both are waited for.
    """
    total = remaining = left()
    patience = counted = time.monotonic()
    while remaining and time.monotonic() - patience < PATIENCE_SECONDS:
        idle = not mill.ingest()
        if idle:
            time.sleep(PAUSE_SECONDS)
        if not idle and time.monotonic() - counted < COUNT_SECONDS:
            continue
        before, remaining, counted = remaining, left(), time.monotonic()
        total = max(total, remaining)
        if remaining != before:
            patience = counted
        progress(total - remaining, total)
    return remaining


def finish(mill: Mill) -> None:
    """Let facts become deliveries, and send them where no other process does; what does not get through is tried again later.

    A living ``casemill run`` sends by itself. One that starts takes over whatever seems to be held, so sending here holds
    the lock that keeps it from starting.
    """
    if not mill.settings.redis_url:
        with suppress(AlreadyRunningError), ExitStack() as stack:
            if mill.database.is_sqlite:
                stack.enter_context(sole(Path(mill.database.url.database or "")))
            mill.drain()
        return
    import workers
    from core.hints import hint

    while mill.relay():
        pass
    workers.connect_hints()
    hint("notify.drain")
