"""A form held against the ledger: every submission in Formstack's own list is there, or young enough to be on its way."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from core import clock
from core.database.session import Database
from core.reasons import Reason
from core.settings.sections import Form
from ingest.ledger.models import FormCursor, InboundItem
from ingest.ledger.types import FORMSTACK
from ingest.sources.backfill import GRACE, first_moment, missing
from ingest.sources.formstack import Listed, ListError, Page, SubmissionList, to_arrival
from ops.reconcile.result import Gap, SourceComparison, store

UNASKED = "counted only: without a section forms.{form}.backfill Formstack's own list of submissions is not asked for"
UNREAD = "the clock has not asked for its list yet: is `casemill run` or `casemill tick` running?"


class FormCheck:
    """Holds one form against the ledger; :meth:`run` once."""

    def __init__(self, name: str, form: Form, database: Database, *, repair: bool) -> None:
        self._name = name
        self._form = form
        self._database = database
        self._repair = repair
        self._balance = SourceComparison(f"form:{name}")

    def run(self) -> SourceComparison:
        """The balance; a list that cannot be read is its problem. Raises only when the database is away."""
        settings = self._form.backfill
        if settings is None:
            self._balance.ledger = self._count()
            self._balance.notes.append(UNASKED.format(form=self._name))
            return self._balance
        since = self._find_start()
        try:
            for page in SubmissionList(self._name, settings).pages(since):
                self._compare(page)
        except ListError as error:
            text = f"{error.text}; `casemill doctor` says what to do"
            self._balance.problem = Reason(error.code, text)
        return self._balance

    def _find_start(self) -> datetime:
        """From when on submissions count."""
        with self._database.read() as session:
            row = session.get(FormCursor, self._name)
        if row is not None:
            return row.started_at
        self._balance.notes.append(UNREAD)
        assert self._form.backfill is not None  # noqa: S101 - asked before
        return first_moment(self._form.backfill, clock.now())

    def _compare(self, page: Page) -> None:
        balance = self._balance
        balance.server = (balance.server or 0) + len(page.listed) + page.unreadable
        with self._database.read() as session:
            lacking = missing(session, self._name, page.listed)
        balance.ledger += len({one.submission for one in page.listed}) - len(lacking)
        ripe = [one for one in lacking if one.latest <= clock.now() - GRACE]
        balance.unread += len(lacking) - len(ripe)
        balance.gaps += [Gap(one.submission, "unknown_submission", _spell(one)) for one in ripe]
        if page.unreadable:
            text = f"{page.unreadable:,} entries without a number or a time"
            balance.gaps.append(Gap("list", "unreadable_entries", text))
        if self._repair:
            arrivals = [to_arrival(self._name, self._form, one) for one in ripe]
            balance.mark_repaired(store(self._database, arrivals), "accepted now")

    def _count(self) -> int:
        mine = InboundItem.identity.startswith(f"{self._name}/", autoescape=True)
        statement = select(func.count()).select_from(InboundItem).where(InboundItem.family == FORMSTACK, mine)
        with self._database.read() as session:
            return session.execute(statement).scalar_one()


def _spell(one: Listed) -> str:
    return f"submitted at {one.earliest:%Y-%m-%d %H:%M} UTC, and not in the ledger"
