"""Compare a form with the ledger: it has every submission in Formstack's list, except those so new that they may still arrive."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from core import clock
from core.database.session import Database
from core.reasons import Reason
from core.settings.sections import Form
from ingest.ledger.models import FormCursor, InboundItem
from ingest.ledger.types import FORMSTACK, Source
from ingest.sources.backfill import MIN_AGE, find_first_moment, find_missing
from ingest.sources.formstack import ListedSubmission, ListError, SubmissionList, SubmissionPage, to_arrival
from ops.reconcile.result import Gap, SourceComparison, accept_arrivals

COUNTED_ONLY_NOTE = "counted only: without a section forms.{form}.backfill casemill cannot read Formstack's list of submissions"
UNREAD_NOTE = "its list was never read: check that `casemill run` or `casemill tick` is running"


class FormComparison:
    """Compares one form with the ledger; :meth:`run` once."""

    def __init__(self, name: str, form: Form, database: Database, *, repair: bool) -> None:
        self._name = name
        self._form = form
        self._database = database
        self._repair = repair
        self._comparison = SourceComparison(str(Source("form", name)))

    def run(self) -> SourceComparison:
        """Return the comparison; a list that cannot be read is its problem. Raises only when the database is unavailable."""
        settings = self._form.backfill
        if settings is None:
            self._comparison.ledger = self._count()
            self._comparison.notes.append(COUNTED_ONLY_NOTE.format(form=self._name))
            return self._comparison
        since = self._find_start()
        try:
            for page in SubmissionList(self._name, settings).read_pages(since):
                self._compare(page)
        except ListError as error:
            text = f"{error.text}; run `casemill doctor` to see what to do"
            self._comparison.problem = Reason(error.code, text)
        return self._comparison

    def _find_start(self) -> datetime:
        """Return the time from which submissions are compared."""
        with self._database.read() as session:
            row = session.get(FormCursor, self._name)
        if row is not None:
            return row.started_at
        self._comparison.notes.append(UNREAD_NOTE)
        assert self._form.backfill is not None  # noqa: S101 - run() has checked it
        return find_first_moment(self._form.backfill, clock.now())

    def _compare(self, page: SubmissionPage) -> None:
        comparison = self._comparison
        comparison.server = (comparison.server or 0) + len(page.submissions) + page.unreadable
        with self._database.read() as session:
            missing = find_missing(session, self._name, page.submissions)
        comparison.ledger += len({one.submission for one in page.submissions}) - len(missing)
        old_enough = [one for one in missing if one.latest <= clock.now() - MIN_AGE]
        comparison.unread += len(missing) - len(old_enough)
        comparison.gaps += [Gap(one.submission, "unknown_submission", _describe(one)) for one in old_enough]
        if page.unreadable:
            text = f"{page.unreadable:,} entries without a number or a time"
            comparison.gaps.append(Gap("list", "unreadable_entries", text))
        if self._repair:
            arrivals = [to_arrival(self._name, self._form, one) for one in old_enough]
            comparison.mark_repaired(accept_arrivals(self._database, arrivals), "accepted now")

    def _count(self) -> int:
        of_form = InboundItem.identity.startswith(f"{self._name}/", autoescape=True)
        statement = select(func.count()).select_from(InboundItem).where(InboundItem.family == FORMSTACK, of_form)
        with self._database.read() as session:
            return session.execute(statement).scalar_one()


def _describe(one: ListedSubmission) -> str:
    return f"submitted at {one.earliest:%Y-%m-%d %H:%M} UTC, but not in the ledger"
