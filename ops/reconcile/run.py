"""Reconciling: each source of the configuration held against the ledger (reliability.md, promise 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core import clock
from core.database.session import Database
from core.errors import RefusedError
from core.settings import Settings
from ingest.parser_pool import ParserPool
from ops.reconcile.folders import FolderCheck
from ops.reconcile.forms import FormCheck
from ops.reconcile.mailboxes import MailboxCheck
from ops.reconcile.result import SourceComparison
from ops.reconcile.workbooks import LATELY, WorkbookCheck

WORKBOOKS = "workbooks"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The sources to reconcile, as words of the ledger, and from when on workbooks are read again (None: all)."""

    words: tuple[str, ...]
    since: datetime | None = None

    @property
    def needs_parser(self) -> bool:
        return any(word.startswith("workbook") for word in self.words)


def choose(settings: Settings, name: str | None) -> Choice:
    """The sources that ``name`` means: None for all, a name, or a word such as ``mailbox:support`` or ``workbook:17``.

    Raises :class:`RefusedError` when there is no such source, or more than one.
    """
    kinds = (("mailbox", settings.mailboxes), ("folder", settings.folders), ("form", settings.forms))
    words = [f"{kind}:{one}" for kind, names in kinds for one in names] + [WORKBOOKS]
    if name is None:
        return Choice(tuple(words), clock.now() - LATELY)
    if name.startswith("workbook:") and name.removeprefix("workbook:").isdecimal():
        return Choice((name,))
    fitting = [word for word in words if name in (word, word.partition(":")[2])]
    if len(fitting) == 1:
        return Choice((fitting[0],))
    text = f"{name} is the name of several sources" if fitting else f"no mailbox, folder or form is called {name}"
    raise RefusedError("unknown_source", text, hint=f"give one of {', '.join(fitting or words)}")


class Reconciler:
    """Holds sources against the ledger. ``repair`` accepts what is missing, as its watcher would have."""

    def __init__(self, settings: Settings, database: Database, pool: ParserPool | None, *, repair: bool = False) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._repair = repair

    def run(self, word: str, since: datetime | None, progress: Progress) -> SourceComparison:
        """The balance of one word of a :class:`Choice`. Raises only when the database is away."""
        kind, _, name = word.partition(":")
        limits = self._settings.limits
        if kind == "mailbox":
            return MailboxCheck(name, self._settings.mailboxes[name], self._database, limits, repair=self._repair).run()
        if kind == "folder":
            return FolderCheck(name, self._settings.folders[name], self._database, limits, repair=self._repair).run()
        if kind == "form":
            return FormCheck(name, self._settings.forms[name], self._database, repair=self._repair).run()
        if self._pool is None:
            raise ValueError("workbooks need parser children")
        check = WorkbookCheck(self._settings, self._database, self._pool, repair=self._repair)
        return check.run_one(int(name)) if kind == "workbook" else check.run_all(since, progress)
