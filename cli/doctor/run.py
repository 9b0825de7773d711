"""Runs the checks of `casemill doctor`: each by itself, side by side, none for longer than a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.database.session import Database
from core.errors import CasemillError
from core.settings import Settings

#: All checks together; one that has no answer by then is a problem of its own.
LONGEST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: ``state`` is ok, warning or problem; ``mend`` what to do about it."""

    check: str
    state: str
    text: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def warning(check: str, text: str, hint: str = "") -> Finding:
    return Finding(check, "warning", text, hint)


def problem(check: str, text: str, hint: str = "") -> Finding:
    return Finding(check, "problem", text, hint)


@dataclass(frozen=True, slots=True)
class Check:
    """A name and what finds out; what it raises is told as a problem."""

    name: str
    run: Callable[[], Iterator[Finding]]


class _Running:
    """One check in a thread of its own, which may hang without holding up anybody."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._findings: list[Finding] = []
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"doctor {check.name}", daemon=True).start()

    def collect(self, until: float) -> list[Finding]:
        if not self._done.wait(max(0.0, until - time.monotonic())):
            text = f"no answer within {LONGEST_SECONDS:.0f} seconds"
            return [problem(self.check.name, text, "see whether a firewall or a slow name server is in the way")]
        return self._findings

    def _run(self) -> None:
        try:
            self._findings = list(self.check.run())
        except Exception as error:
            self._findings = [told(self.check.name, error)]
        self._done.set()


def told(check: str, error: Exception) -> Finding:
    """An exception as a finding; the text of an unexpected one is left out, it may hold anything."""
    from cli.errors import translate

    expected = translate(error)
    if isinstance(expected, CasemillError):
        return problem(check, str(expected).partition("\n")[0], expected.hint)
    if isinstance(expected, OSError):
        return problem(check, f"{expected.filename or 'the system says'}: {expected.strerror or type(expected).__name__}")
    return problem(check, f"the check itself failed ({type(error).__name__})")


def examine() -> list[Finding]:
    """All findings, in a fixed order. Without a configuration that can be read there is nothing else to check."""
    from core import settings

    try:
        loaded = settings.load()
    except Exception as error:
        return [told("configuration", error)]
    findings = list(_configuration(loaded))
    database, problems = _open(loaded)
    findings += problems
    running = [_Running(check) for check in _checks(loaded, database)]
    until = time.monotonic() + LONGEST_SECONDS
    for one in running:
        findings += one.collect(until)
    if database is not None:
        database.close()
    return findings


def _configuration(loaded: Settings) -> Iterator[Finding]:
    import os

    chosen = os.environ.get("CASEMILL_CONFIG") or ("casemill.toml" if Path("casemill.toml").exists() else "")
    parts = f"mailboxes {len(loaded.mailboxes)}, forms {len(loaded.forms)}, folders {len(loaded.folders)}"
    yield ok("configuration", f"{chosen or 'no file, the embedded default'}: {loaded.env}; {parts}")


def _open(loaded: Settings) -> tuple[Database | None, list[Finding]]:
    """The database, None when it cannot be used, with the findings about it. None is ever made here."""
    from cli.services import is_missing
    from core import migrations

    database = None
    try:
        if is_missing(loaded):
            return None, [problem("database", "there is no database yet", "run `casemill init`")]
        database = Database(loaded.database)
        current, head = migrations.current(database), migrations.head()
    except Exception as error:
        if database is not None:
            database.close()
        return None, [told("database", error)]
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    if current == head:
        return database, [ok("database", f"{kind} answers, at {current}")]
    database.close()
    text = f"{kind} is at {current or 'nothing'}, this version needs {head}"
    return None, [problem("database", text, "run `casemill migrate`")]


def _checks(loaded: Settings, database: Database | None) -> list[Check]:
    from cli.doctor import connections, records, sign_in

    checks = [
        Check("data_dir", lambda: connections.check_data_dir(loaded)),
        Check("mail out", lambda: connections.check_mail_out(loaded)),
        Check("redis", lambda: connections.check_redis(loaded)),
        *(_mailbox_check(name, loaded, database) for name in loaded.mailboxes),
        *(_folder_check(name, loaded) for name in loaded.folders),
        Check("forms", lambda: connections.check_forms(loaded)),
        *(_backfill_check(name, loaded) for name, form in loaded.forms.items() if form.backfill is not None),
        Check("client secrets", lambda: sign_in.check_secrets(loaded)),
    ]
    if database is not None:
        known: dict[str, Callable[[Database, Settings], Iterator[Finding]]] = records.CHECKS
        checks += [_record_check(name, check, database, loaded) for name, check in known.items()]
    return checks


def _mailbox_check(name: str, loaded: Settings, database: Database | None) -> Check:
    from cli.doctor import connections

    return Check(f"mailbox {name}", lambda: connections.check_mailbox(name, loaded.mailboxes[name], database))


def _folder_check(name: str, loaded: Settings) -> Check:
    from cli.doctor import connections

    return Check(f"folder {name}", lambda: connections.check_folder(name, loaded.folders[name]))


def _backfill_check(name: str, loaded: Settings) -> Check:
    from cli.doctor import sign_in

    return Check(f"form {name}", lambda: sign_in.check_backfill(name, loaded))


def _record_check(
    name: str, check: Callable[[Database, Settings], Iterator[Finding]], database: Database, loaded: Settings
) -> Check:
    def run() -> Any:
        return check(database, loaded)

    return Check(name, run)
