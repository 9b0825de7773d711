"""What the webhook missed, taken in by the clock (formstack.md, Backfill).

Asking takes as long as another's server takes, so the clock only starts it: each form is asked in a thread of its own, under a
lease, and its progress is a row. What is younger than :data:`GRACE` may still be on its way and is left for the next look.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from time import sleep
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import clock
from core.backoff import Backoff
from core.database.bulk import insert_ignore
from core.database.session import Database, is_unavailable
from core.settings.sections import Backfill, Form
from ingest.ledger.accept import accept, find_known
from ingest.ledger.models import FormCursor
from ingest.ledger.types import FORMSTACK
from ingest.sources.formstack import Listed, ListError, Page, SubmissionList, identity_of, to_arrival
from ingest.sources.held_lease import HeldLease, LeaseLostError
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources")

#: Seconds between two looks at which forms are due.
EVERY = 5.0
#: Always read again: times are naive, and a submission may appear late.
OVERLAP = timedelta(hours=2)
#: A webhook's post is on its way at most so long.
GRACE = timedelta(minutes=5)
#: The first pause after trouble that passes; it doubles up to the form's own interval.
FIRST_PAUSE = timedelta(minutes=1)
#: A form with a longer interval is asked at least this often after trouble that passes.
MAX_PAUSE = timedelta(minutes=1024)
PERMANENT_PAUSE = timedelta(hours=1)


def source_of(form: str) -> str:
    """The name of the lease under which a form is asked."""
    return f"backfill:{form}"


class Backfilling:
    """Asks every form with a ``backfill`` section when its time has come. One for each clock; not shared between threads."""

    def __init__(self, forms: Mapping[str, Form], database: Database) -> None:
        self._forms = {name: form for name, form in forms.items() if form.backfill is not None}
        self._database = database
        self._threads: dict[str, threading.Thread] = {}

    def look(self) -> None:
        """Start a thread for each form that is due and not being asked; never waits for another's server."""
        if not self._forms:
            return
        with self._database.read() as session:
            now = self._database.now(session)
            rows = session.execute(select(FormCursor.form, FormCursor.due_at).where(FormCursor.form.in_(self._forms)))
            # What is put off for longer than that was put off by a clock that was ahead.
            later = {form for form, due_at in rows if now < due_at <= now + longest_pause(self._forms[form])}
        for name in self._forms:
            running = self._threads.get(name)
            if name not in later and (running is None or not running.is_alive()):
                thread = threading.Thread(target=self._ask, args=(name,), name=source_of(name), daemon=True)
                self._threads[name] = thread
                thread.start()

    def join(self, seconds: float) -> None:
        """Wait for what has been started."""
        for thread in self._threads.values():
            thread.join(seconds)

    def _ask(self, name: str) -> None:
        try:
            FormAsking(name, self._forms[name], self._database).run()
        except Exception as error:
            if not is_unavailable(error):
                log.error("asking a form failed", extra={"form": name, "error": type(error).__name__})


class FormAsking:
    """One look at one form's list, from the cursor (less two hours) to its end."""

    def __init__(self, name: str, form: Form, database: Database, wait: Callable[[float], None] = sleep) -> None:
        assert form.backfill is not None  # noqa: S101 - only such forms are asked
        self._name = name
        self._form = form
        self._settings: Backfill = form.backfill
        self._database = database
        self._list = SubmissionList(name, form.backfill, wait)
        self._tenure = HeldLease(database, source_of(name))
        self._found = 0

    def run(self) -> int:
        """How many submissions were found that the webhook had not brought; 0 when another process asks. Raises only what
        the database raises."""
        if not self._tenure.begin():
            return 0
        with self._tenure:
            try:
                self._read()
            except LeaseLostError:
                log.warning("lease lost", extra={"form": self._name})
            except ListError as error:
                self._note_error(error)
        return self._found

    def _read(self) -> None:
        begun = self._database.transaction(self._begin)
        for page in self._list.pages(begun - OVERLAP):
            if page.unreadable:
                log.warning("a list has entries that cannot be read", extra={"form": self._name, "count": page.unreadable})
            self._take(page)
        self._database.transaction(self._note_done)
        if self._found:
            log.error("submissions that the webhook missed", extra={"form": self._name, "count": self._found})

    def _begin(self, session: Session) -> datetime:
        """From where to read on; the row is made at the first contact."""
        now = self._database.now(session)
        row = session.get(FormCursor, self._name)
        if row is not None:
            return row.read_until
        first = first_moment(self._settings, now)
        insert_ignore(session, FormCursor, [
            {"form": self._name, "started_at": first, "read_until": first, "due_at": now, "errors": 0, "missed": 0}
        ])  # fmt: skip
        return first

    def _take(self, page: Page) -> None:
        """One unit of work for a page: what is not in the ledger yet and old enough, and the cursor."""
        if not page.listed:
            return
        made = self._database.transaction(lambda session: self._accept(session, page.listed))
        if made:
            self._found += made
            request_drain("ingest.drain")

    def _accept(self, session: Session, listed: Sequence[Listed]) -> int:
        self._tenure.check(session)
        now = self._database.now(session)
        ripe = [one for one in listed if one.latest <= now - GRACE]
        new = missing(session, self._name, ripe)
        arrivals = [to_arrival(self._name, self._form, one) for one in new]
        made = sum(not one.known for one in accept(session, arrivals, clock.now()))
        if ripe:
            latest = min(max(one.earliest for one in ripe), now)
            ahead = FormCursor.form == self._name, FormCursor.read_until < latest
            session.execute(update(FormCursor).where(*ahead).values(read_until=latest))
        if made:
            values = {"missed": FormCursor.missed + made, "missed_at": now}
            session.execute(update(FormCursor).where(FormCursor.form == self._name).values(**values))
        return made

    def _note_done(self, session: Session) -> None:
        now = self._database.now(session)
        values = {"checked_at": now, "due_at": now + timedelta(minutes=self._settings.minutes), "errors": 0, "error": None}
        session.execute(update(FormCursor).where(FormCursor.form == self._name).values(**values))

    def _note_error(self, error: ListError) -> None:
        """Ask again: soon after trouble that passes, within the hour after what somebody has to mend."""

        def unit(session: Session) -> int:
            now = self._database.now(session)
            row = session.get_one(FormCursor, self._name)
            row.errors, row.error = row.errors + 1, error.code
            interval = timedelta(minutes=self._settings.minutes)
            backoff = Backoff(FIRST_PAUSE, maximum=min(interval, MAX_PAUSE))
            row.due_at = now + (longest_pause(self._form) if error.permanent else backoff.after(row.errors))
            return row.errors

        errors = self._database.transaction(unit)
        log.warning("form trouble", extra={"form": self._name, "error": error.code, "errors": errors})


def longest_pause(form: Form) -> timedelta:
    """How long a form is left alone at most."""
    return max(timedelta(minutes=form.backfill.minutes if form.backfill else 0), PERMANENT_PAUSE)


def first_moment(settings: Backfill, now: datetime) -> datetime:
    """From when on submissions count: the start of the day ``since`` in the account's zone, else now."""
    if settings.since is None:
        return now
    return datetime.combine(settings.since, time(), ZoneInfo(settings.zone)).astimezone(UTC)


def missing(session: Session, form: str, listed: Sequence[Listed]) -> list[Listed]:
    """Those that the ledger has not, each once."""
    by_identity = {identity_of(form, one.submission): one for one in listed}
    known = find_known(session, [(FORMSTACK, identity) for identity in by_identity])
    return [one for identity, one in by_identity.items() if (FORMSTACK, identity) not in known]
