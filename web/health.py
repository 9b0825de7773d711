"""``/healthz`` (the process is alive) and ``/readyz`` (it can do its work): for load balancers and people on call."""

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

Status = Callable[[], Mapping[str, object]]
OK = "ok"
SILENT_AFTER = timedelta(minutes=5)
MANY_ERRORS = 5
_KEPT_SECONDS = 1.0


async def answer_alive(request: Request) -> Response:
    """200 as long as the process answers at all; asks nothing of anybody."""
    return JSONResponse({"status": OK})


class Health:
    """The readiness check."""

    def __init__(self, settings: Settings, database: Database, status: Status | None) -> None:
        self._settings = settings
        self._database = database
        self._status = status
        self._checks = TtlCache(self._check, seconds=_KEPT_SECONDS)

    async def answer(self, request: Request) -> Response:
        """200 or 503; the checks by name only to those who may see the state of the house."""
        try:
            checks = await self._checks.get()
        except TimeoutError:
            checks = {"database": "The database does not answer in time."}
        ready = all(told == OK for told in checks.values())
        body: dict[str, object] = {"status": "ready" if ready else "not ready"}
        if access.may_see_status(request, self._settings):
            body["checks"] = checks
        return JSONResponse(body, 200 if ready else 503)

    def _check(self) -> dict[str, str]:
        """Each check as ``ok`` or a sentence."""
        return self._check_database() | self._check_status()

    def _check_database(self) -> dict[str, str]:
        try:
            with self._database.read() as session:
                queries.probe(session)
                mailboxes = queries.read_mailboxes(session)
        except SQLAlchemyError as error:
            log.error("the database is not ready", exc_info=error)
            return {"database": self._explain()}
        return {"database": OK, **judge_mailboxes(mailboxes, list(self._settings.mailboxes), clock.now())}

    def _explain(self) -> str:
        try:
            self._database.ping()
        except SQLAlchemyError:
            return "The database does not answer."
        return "The database has no tables of this version: run `casemill migrate`."

    def _check_status(self) -> dict[str, str]:
        if self._status is None:
            return {}
        try:
            return {name: OK if told is True else str(told) for name, told in self._status().items()}
        except Exception as error:
            log.error("the status checks failed", exc_info=error)
            return {"status": "The checks of this process failed; its log says where."}


def judge_mailboxes(found: list[MailboxHealth], configured: list[str], now: datetime) -> dict[str, str]:
    """``mailbox:NAME`` → ``ok``, or a sentence when it has failed again and again and was not read for five minutes."""
    by_name = {health.name: health for health in found}
    return {f"mailbox:{name}": judge_mailbox(by_name.get(name), now) for name in configured}


def judge_mailbox(health: MailboxHealth | None, now: datetime) -> str:
    """One mailbox; never watched yet is no fault of this process."""
    if health is None or health.errors < MANY_ERRORS:
        return OK
    if health.checked_at is not None and now - health.checked_at <= SILENT_AFTER:
        return OK
    last = "never" if health.checked_at is None else health.checked_at.strftime("last at %Y-%m-%d %H:%M UTC")
    return f"The mailbox could not be read {health.errors} times in a row ({last}): `casemill doctor` says why."
