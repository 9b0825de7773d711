"""Backfill: read Formstack's list of submissions, and accept those that the webhook missed (formstack.md, Backfill).

Reading takes as long as Formstack takes, so the clock only starts it: a thread reads each form, under a lease, and stores its
progress in a row. A submission younger than :data:`MIN_AGE` may still arrive by webhook; the next run reads it.
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
from ingest.sources.formstack import ListedSubmission, ListError, SubmissionList, SubmissionPage, to_arrival
from ingest.sources.formstack_envelope import submission_identity
from ingest.sources.held_lease import HeldLease, LeaseLostError
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources.backfill")

#: Seconds between two checks of which forms are due.
CHECK_SECONDS = 5.0
#: The end of the last run is read again: times are naive, and a submission may appear in the list late.
OVERLAP = timedelta(hours=2)
#: A webhook's post arrives within this time.
MIN_AGE = timedelta(minutes=5)
#: The first pause after a temporary error; it doubles up to the form's own interval.
FIRST_PAUSE = timedelta(minutes=1)
#: A form with a longer interval is read at least this often after a temporary error.
MAX_PAUSE = timedelta(minutes=1024)
PERMANENT_PAUSE = timedelta(hours=1)


def lease_name(form: str) -> str:
    """Return the name of the lease under which a form's list is read."""
    return f"backfill:{form}"


class BackfillScheduler:
    """Starts the backfill of each form with a ``backfill`` section when it is due. One for each clock, for one thread."""

    def __init__(self, forms: Mapping[str, Form], database: Database) -> None:
        self._forms = {name: form for name, form in forms.items() if form.backfill is not None}
        self._database = database
        self._threads: dict[str, threading.Thread] = {}

    def start_due(self) -> None:
        """Start a thread for each form that is due and not being read. Never waits for Formstack."""
        if not self._forms:
            return
        with self._database.read() as session:
            now = self._database.now(session)
            rows = session.execute(select(FormCursor.form, FormCursor.due_at).where(FormCursor.form.in_(self._forms)))
            # A due time that is further away was written by a clock that was ahead, and is ignored.
            not_due = {form for form, due_at in rows if now < due_at <= now + max_pause(self._forms[form])}
        for name in self._forms:
            running = self._threads.get(name)
            if name not in not_due and (running is None or not running.is_alive()):
                thread = threading.Thread(target=self._run_form, args=(name,), name=lease_name(name), daemon=True)
                self._threads[name] = thread
                thread.start()

    def join(self, seconds: float) -> None:
        """Wait up to ``seconds`` for each thread that was started."""
        for thread in self._threads.values():
            thread.join(seconds)

    def _run_form(self, name: str) -> None:
        try:
            FormBackfill(name, self._forms[name], self._database).run()
        except Exception as error:
            if not is_unavailable(error):
                log.error("form backfill crashed", extra={"form": name, "error": type(error).__name__})


class FormBackfill:
    """One run for one form: read its list from the cursor (less two hours) to the end."""

    def __init__(self, name: str, form: Form, database: Database, wait: Callable[[float], None] = sleep) -> None:
        assert form.backfill is not None  # noqa: S101 - the scheduler has only such forms
        self._name = name
        self._form = form
        self._settings: Backfill = form.backfill
        self._database = database
        self._list = SubmissionList(name, form.backfill, wait)
        self._lease = HeldLease(database, lease_name(name))
        self._missed = 0

    def run(self) -> int:
        """Return how many submissions the webhook had missed; 0 while another process reads the form.

        Raises only what the database raises.
        """
        if not self._lease.acquire():
            return 0
        with self._lease:
            try:
                self._read_list()
            except LeaseLostError:
                log.warning("form backfill lease lost", extra={"form": self._name})
            except ListError as error:
                self._record_error(error)
        return self._missed

    def _read_list(self) -> None:
        start = self._database.transaction(self._find_start)
        for page in self._list.read_pages(start - OVERLAP):
            if page.unreadable:
                log.warning("form backfill skipped unreadable entries", extra={"form": self._name, "count": page.unreadable})
            self._accept_page(page)
        self._database.transaction(self._record_success)
        if self._missed:
            log.error("webhook missed submissions, backfill accepted them", extra={"form": self._name, "count": self._missed})

    def _find_start(self, session: Session) -> datetime:
        """Return the time to read from; write the form's row if there is none."""
        now = self._database.now(session)
        row = session.get(FormCursor, self._name)
        if row is not None:
            return row.read_until
        first = find_first_moment(self._settings, now)
        insert_ignore(session, FormCursor, [
            {"form": self._name, "started_at": first, "read_until": first, "due_at": now, "errors": 0, "missed": 0}
        ])  # fmt: skip
        return first

    def _accept_page(self, page: SubmissionPage) -> None:
        """Commit, in one transaction, the submissions of a page that are old enough and missing in the ledger, and the cursor."""
        if not page.submissions:
            return
        accepted = self._database.transaction(lambda session: self._accept(session, page.submissions))
        if accepted:
            self._missed += accepted
            request_drain("ingest.drain")

    def _accept(self, session: Session, listed: Sequence[ListedSubmission]) -> int:
        self._lease.check(session)
        now = self._database.now(session)
        old_enough = [one for one in listed if one.latest <= now - MIN_AGE]
        missed = find_missing(session, self._name, old_enough)
        arrivals = [to_arrival(self._name, self._form, one) for one in missed]
        made = sum(not one.known for one in accept(session, arrivals, clock.now()))
        if old_enough:
            latest = min(max(one.earliest for one in old_enough), now)
            is_behind = FormCursor.form == self._name, FormCursor.read_until < latest
            session.execute(update(FormCursor).where(*is_behind).values(read_until=latest))
        if made:
            values = {"missed": FormCursor.missed + made, "missed_at": now}
            session.execute(update(FormCursor).where(FormCursor.form == self._name).values(**values))
        return made

    def _record_success(self, session: Session) -> None:
        now = self._database.now(session)
        values = {"checked_at": now, "due_at": now + timedelta(minutes=self._settings.minutes), "errors": 0, "error": None}
        session.execute(update(FormCursor).where(FormCursor.form == self._name).values(**values))

    def _record_error(self, error: ListError) -> None:
        """Set the next run: soon after a temporary error, within an hour after one that an operator has to resolve."""

        def unit(session: Session) -> int:
            now = self._database.now(session)
            row = session.get_one(FormCursor, self._name)
            row.errors, row.error = row.errors + 1, error.code
            interval = timedelta(minutes=self._settings.minutes)
            backoff = Backoff(FIRST_PAUSE, maximum=min(interval, MAX_PAUSE))
            row.due_at = now + (max_pause(self._form) if error.is_permanent else backoff.after(row.errors))
            return row.errors

        errors = self._database.transaction(unit)
        log.warning("form backfill error", extra={"form": self._name, "error": error.code, "errors": errors})


def max_pause(form: Form) -> timedelta:
    """Return the longest pause between two runs of a form."""
    return max(timedelta(minutes=form.backfill.minutes if form.backfill else 0), PERMANENT_PAUSE)


def find_first_moment(settings: Backfill, now: datetime) -> datetime:
    """Return the time from which submissions are read: the start of the day ``since`` in the account's zone, else now."""
    if settings.since is None:
        return now
    return datetime.combine(settings.since, time(), ZoneInfo(settings.zone)).astimezone(UTC)


def find_missing(session: Session, form: str, listed: Sequence[ListedSubmission]) -> list[ListedSubmission]:
    """Return the submissions that the ledger does not have, each once."""
    by_identity = {submission_identity(form, one.submission): one for one in listed}
    known = find_known(session, [(FORMSTACK, identity) for identity in by_identity])
    return [one for identity, one in by_identity.items() if (FORMSTACK, identity) not in known]
