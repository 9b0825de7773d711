"""``/healthz`` (the process is alive) and ``/readyz`` (the process can do its work), for load balancers and operators."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core import clock
from core.database.session import Database
from core.settings import Settings
from web import access
from web.status import queries
from web.status.queries import MailboxHealth
from web.ttl_cache import TtlCache

log = logging.getLogger("casemill.web")

#: Returns named checks: True or ``"ok"`` passes, any other value is a sentence that says what is wrong.
StatusChecks = Callable[[], Mapping[str, object]]
OK = "ok"
MAX_SILENCE = timedelta(minutes=5)
ERRORS_UNTIL_NOT_READY = 5
_CACHE_SECONDS = 1.0


async def show_liveness(_request: Request) -> Response:
    """Answer 200 without touching the database."""
    return JSONResponse({"status": OK})


class Readiness:
    """``GET /readyz``: 200 when every check passes, 503 otherwise."""

    def __init__(self, settings: Settings, database: Database, status_checks: StatusChecks | None) -> None:
        self._settings = settings
        self._database = database
        self._status_checks = status_checks
        self._checks = TtlCache(self._run_checks, seconds=_CACHE_SECONDS)

    async def show(self, request: Request) -> Response:
        """Answer 200 or 503; only clients that may see the status get the checks by name."""
        try:
            checks = await self._checks.get()
        except TimeoutError:
            checks = {"database": "The database does not answer in time."}
        is_ready = all(result == OK for result in checks.values())
        body: dict[str, object] = {"status": "ready" if is_ready else "not ready"}
        if access.may_see_status(request, self._settings):
            body["checks"] = checks
        return JSONResponse(body, 200 if is_ready else 503)

    def _run_checks(self) -> dict[str, str]:
        """Return each check as ``ok`` or as a sentence that says what is wrong."""
        return self._check_database() | self._check_process()

    def _check_database(self) -> dict[str, str]:
        try:
            with self._database.read() as session:
                queries.probe_database(session)
                mailboxes = queries.read_mailboxes(session)
        except SQLAlchemyError as error:
            log.error("readiness check failed, database not ready", exc_info=error)
            return {"database": self._explain_database_error()}
        return {"database": OK, **check_mailboxes(mailboxes, list(self._settings.mailboxes), clock.now())}

    def _explain_database_error(self) -> str:
        try:
            self._database.ping()
        except SQLAlchemyError:
            return "The database does not answer."
        return "The database has no tables of this version: run `casemill migrate`."

    def _check_process(self) -> dict[str, str]:
        if self._status_checks is None:
            return {}
        try:
            return {name: OK if result is True else str(result) for name, result in self._status_checks().items()}
        except Exception as error:
            log.error("readiness checks of the process failed", exc_info=error)
            return {"status": "The checks of this process failed; see its log."}


def check_mailboxes(found: list[MailboxHealth], configured: list[str], now: datetime) -> dict[str, str]:
    """Return ``mailbox:NAME`` → ``ok`` or a sentence, for every configured mailbox."""
    by_name = {health.name: health for health in found}
    return {f"mailbox:{name}": check_mailbox(by_name.get(name), now) for name in configured}


def check_mailbox(health: MailboxHealth | None, now: datetime) -> str:
    """Return ``ok``, or a sentence when the mailbox failed five times in a row and was not read for five minutes.

    A mailbox that was never watched is ``ok``: it says nothing about this process.
    """
    if health is None or health.errors < ERRORS_UNTIL_NOT_READY:
        return OK
    if health.checked_at is not None and now - health.checked_at <= MAX_SILENCE:
        return OK
    last = "never" if health.checked_at is None else health.checked_at.strftime("%Y-%m-%d %H:%M UTC")
    return f"The mailbox could not be read {health.errors} times in a row (last success: {last}): run `casemill doctor`."
