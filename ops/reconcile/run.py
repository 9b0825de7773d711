"""Reconcile: compare each configured source with the ledger (reliability.md, promise 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core import clock
from core.database.session import Database
from core.errors import RefusedError
from core.settings import Settings
from ingest.configured_sources import list_sources, match_sources
from ingest.ledger.types import Source
from ingest.parser_pool import ParserPool
from ops.reconcile.folders import FolderComparison
from ops.reconcile.forms import FormComparison
from ops.reconcile.mailboxes import MailboxComparison
from ops.reconcile.result import SourceComparison
from ops.reconcile.workbooks import DEFAULT_WORKBOOK_AGE, WorkbookComparison

WORKBOOKS = "workbooks"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SourceSelection:
    """The sources to reconcile, as the ledger names them; workbooks received before ``since`` are left out (None: none is)."""

    sources: tuple[str, ...]
    since: datetime | None = None

    @property
    def needs_parser(self) -> bool:
        return any(source.startswith("workbook") for source in self.sources)


def select_sources(settings: Settings, name: str | None) -> SourceSelection:
    """Return the sources that ``name`` means: None for all, a name, or for example ``mailbox:support`` or ``workbook:17``.

    Raises :class:`RefusedError` when there is no such source, or more than one.
    """
    sources = [*list_sources(settings), Source(WORKBOOKS)]
    if name is None:
        return SourceSelection(tuple(map(str, sources)), clock.now() - DEFAULT_WORKBOOK_AGE)
    source = Source.parse(name)
    if source.kind == "workbook" and source.name.isdecimal():
        return SourceSelection((name,))
    matches = match_sources(sources, name)
    if len(matches) == 1:
        return SourceSelection((str(matches[0]),))
    text = f"{name} is the name of several sources" if matches else f"no mailbox, folder or form has the name {name}"
    raise RefusedError("unknown_source", text, hint=f"use one of {', '.join(map(str, matches or sources))}")


class Reconciler:
    """Compares sources with the ledger. With ``repair`` it accepts what is missing, as the source's watcher does."""

    def __init__(self, settings: Settings, database: Database, pool: ParserPool | None, *, repair: bool = False) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._repair = repair

    def run(self, source: str, since: datetime | None, progress: Progress) -> SourceComparison:
        """Compare one source of a :class:`SourceSelection`. Raises only when the database is unavailable.

        ``progress`` is called with (workbooks done, workbooks).
        """
        parsed = Source.parse(source)
        kind, name = parsed.kind, parsed.name
        limits = self._settings.limits
        if kind == "mailbox":
            return MailboxComparison(name, self._settings.mailboxes[name], self._database, limits, repair=self._repair).run()
        if kind == "folder":
            return FolderComparison(name, self._settings.folders[name], self._database, limits, repair=self._repair).run()
        if kind == "form":
            return FormComparison(name, self._settings.forms[name], self._database, repair=self._repair).run()
        if self._pool is None:
            raise ValueError("workbooks need parser processes")
        comparison = WorkbookComparison(self._settings, self._database, self._pool, repair=self._repair)
        return comparison.run_one(int(name)) if kind == "workbook" else comparison.run_all(since, progress)
