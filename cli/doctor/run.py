"""Run the checks of `casemill doctor`: each in a thread of its own, side by side, with one time limit for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.database.session import Database
from core.errors import CasemillError
from core.findings import Finding, ok, problem
from core.settings import Settings

#: For all checks together. A check without an answer by then is reported as a problem.
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """A check by its name. What ``run`` raises is reported as a problem."""

    name: str
    run: Callable[[], Iterator[Finding]]


class _CheckThread:
    """One check in its own thread, so that a check that hangs delays no other."""

    def __init__(self, check: DoctorCheck) -> None:
        self._check = check
        self._findings: list[Finding] = []
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"doctor {check.name}", daemon=True).start()

    def collect(self, deadline: float) -> list[Finding]:
        """Return the findings, or a problem when there are none at ``deadline`` (monotonic seconds)."""
        if not self._done.wait(max(0.0, deadline - time.monotonic())):
            text = f"no answer within {TIMEOUT_SECONDS:.0f} seconds"
            return [problem(self._check.name, text, "check whether a firewall blocks the connection or the name server is slow")]
        return self._findings

    def _run(self) -> None:
        try:
            self._findings = list(self._check.run())
        except Exception as error:
            self._findings = [report_error(self._check.name, error)]
        self._done.set()


def report_error(check: str, error: Exception) -> Finding:
    """Return an exception as a problem. The text of an unexpected one is left out: it may quote a message."""
    from cli.errors import to_expected_error

    expected = to_expected_error(error)
    if isinstance(expected, CasemillError):
        return problem(check, str(expected).partition("\n")[0], expected.hint)
    if isinstance(expected, OSError):
        return problem(check, f"{expected.filename or 'the system says'}: {expected.strerror or type(expected).__name__}")
    return problem(check, f"the check itself failed ({type(error).__name__})")


def run_checks() -> list[Finding]:
    """Return all findings, in a fixed order. Without a readable configuration there is nothing else to check."""
    from core import settings

    try:
        loaded = settings.load()
    except Exception as error:
        return [report_error("configuration", error)]
    findings = list(_describe_configuration(loaded))
    database, problems = _open_database(loaded)
    findings += problems
    threads = [_CheckThread(check) for check in _list_checks(loaded, database)]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    for thread in threads:
        findings += thread.collect(deadline)
    if database is not None:
        database.close()
    return findings


def _describe_configuration(loaded: Settings) -> Iterator[Finding]:
    import os

    path = os.environ.get("CASEMILL_CONFIG") or ("casemill.toml" if Path("casemill.toml").exists() else "")
    parts = f"mailboxes {len(loaded.mailboxes)}, forms {len(loaded.forms)}, folders {len(loaded.folders)}"
    yield ok("configuration", f"{path or 'no file, the embedded default'}: {loaded.env}; {parts}")


def _open_database(loaded: Settings) -> tuple[Database | None, list[Finding]]:
    """Return the database, None when it cannot be used, and the findings about it. Creates no database."""
    from cli.context import is_database_missing
    from core import migrations

    database = None
    try:
        if is_database_missing(loaded):
            return None, [problem("database", "there is no database yet", "run `casemill init`")]
        database = Database(loaded.database)
        current, required = migrations.current_revision(database), migrations.required_revision()
    except Exception as error:
        if database is not None:
            database.close()
        return None, [report_error("database", error)]
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    if current == required:
        return database, [ok("database", f"{kind} answers, at schema {current}")]
    database.close()
    text = f"{kind} is at schema {current or 'none'}, this version needs {required}"
    return None, [problem("database", text, "run `casemill migrate`")]


def _list_checks(loaded: Settings, database: Database | None) -> list[DoctorCheck]:
    from cli.doctor import connections, records, sign_in

    checks = [
        DoctorCheck("data_dir", lambda: connections.check_data_dir(loaded)),
        DoctorCheck("mail out", lambda: connections.check_mail_out(loaded)),
        DoctorCheck("redis", lambda: connections.check_redis(loaded)),
        *(_mailbox_check(name, loaded, database) for name in loaded.mailboxes),
        *(_folder_check(name, loaded) for name in loaded.folders),
        DoctorCheck("forms", lambda: connections.check_forms(loaded)),
        *(_backfill_check(name, loaded) for name, form in loaded.forms.items() if form.backfill is not None),
        DoctorCheck("client secrets", lambda: sign_in.check_client_secrets(loaded)),
    ]
    if database is not None:
        record_checks: dict[str, Callable[[Database, Settings], Iterator[Finding]]] = records.CHECKS
        checks += [_record_check(name, check, database, loaded) for name, check in record_checks.items()]
    return checks


def _mailbox_check(name: str, loaded: Settings, database: Database | None) -> DoctorCheck:
    from cli.doctor import connections

    return DoctorCheck(f"mailbox {name}", lambda: connections.check_mailbox(name, loaded.mailboxes[name], database))


def _folder_check(name: str, loaded: Settings) -> DoctorCheck:
    from cli.doctor import connections

    return DoctorCheck(f"folder {name}", lambda: connections.check_folder(name, loaded.folders[name]))


def _backfill_check(name: str, loaded: Settings) -> DoctorCheck:
    from cli.doctor import sign_in

    return DoctorCheck(f"form {name}", lambda: sign_in.check_backfill(name, loaded))


def _record_check(
    name: str, check: Callable[[Database, Settings], Iterator[Finding]], database: Database, loaded: Settings
) -> DoctorCheck:
    def run() -> Any:
        return check(database, loaded)

    return DoctorCheck(name, run)
