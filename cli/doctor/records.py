"""Doctor's checks of what is in the database: the clock, people and teams, work that waits too long, the quarantine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from accounts.models import Staff
from accounts.teams import find_default
from cli.doctor.run import Finding, ok, problem, warning
from core import clock
from core.database.session import Database
from core.settings import Settings
from ingest.ledger import quarantine
from ingest.ledger.models import InboundItem
from notify.models import Delivery
from ops.invariants import checks
from outbox.models import OutboxFact

#: Work that is due for longer than this is stuck.
PATIENCE = timedelta(minutes=1)
#: Clocks further apart than this make leases and due times unreliable.
DRIFT = timedelta(seconds=5)


def check_clock(database: Database, settings: Settings) -> Iterator[Finding]:
    """This machine's clock against the database's."""
    if database.is_sqlite:
        yield ok("clock", "the database is on this machine and has its clock")
        return
    with database.read() as session:
        before = clock.now()
        theirs = database.now(session)
        apart = abs(theirs - (before + (clock.now() - before) / 2))
    text = f"{apart.total_seconds():.1f} seconds apart from the database's"
    yield problem("clock", text, "set both clocks by NTP") if apart > DRIFT else ok("clock", text)


def check_teams(database: Database, settings: Settings) -> Iterator[Finding]:
    """Whether there is a default team with members, and whether everybody named is on the staff."""
    if not settings.teams:
        yield warning("teams", "none: tickets without a consultant wait unassigned", "add a [teams.NAME] section with members")
        return
    default = find_default(settings.teams)
    staff = _active(database)
    findings = list(_unknown_people(settings, staff))
    if default is not None and not any(email in staff for email in settings.teams[default].members):
        text = f"the default team {default} has no member on the staff"
        findings.append(problem("teams", text, "add its members with `casemill staff add`"))
    yield from findings or [ok("teams", f"all on the staff; {default} is the default")]


def check_staff(database: Database, settings: Settings) -> Iterator[Finding]:
    """Whether there is any staff, and whether everybody has working hours."""
    with database.read() as session:
        people = list(session.execute(select(Staff).where(Staff.active).order_by(Staff.email)).scalars())
    idle = [one.email for one in people if not one.weekdays or one.starts >= one.ends]
    for email in idle:
        hint = f"casemill staff add {email} --days Mon-Fri --hours 08:00-17:00"
        yield problem("staff", f"{email} has no working hours and so is never given a ticket by load", hint)
    if not people:
        yield warning("staff", "nobody: every ticket waits unassigned", "add people with `casemill staff add`")
    elif not idle:
        yield ok("staff", f"{len(people)} active, all with working hours")


def check_waiting(database: Database, settings: Settings) -> Iterator[Finding]:
    """Work that has been due for more than a minute: nobody is working, or something is stuck."""
    late = clock.now() - PATIENCE
    counts: tuple[tuple[str, Any, tuple[ColumnElement[bool], ...]], ...] = (
        ("items", InboundItem, (InboundItem.state == "waiting", InboundItem.due_at <= late)),
        ("facts", OutboxFact, (OutboxFact.done_at.is_(None), OutboxFact.due_at <= late)),
        ("deliveries", Delivery, (Delivery.state == "pending", Delivery.finished_at.is_(None), Delivery.due_at <= late)),
    )
    stuck = []
    with database.read() as session:
        for what, table, conditions in counts:
            number, oldest = _count_due(session, table, conditions)
            if number:
                stuck.append(f"{what} {number:,} since {oldest:%Y-%m-%d %H:%M} UTC")
    if stuck:
        yield problem("queue", f"waiting: {', '.join(stuck)}", "see that `casemill run` (or workers and tick) runs, and its log")
    else:
        yield ok("queue", "nothing has waited for more than a minute")


def check_quarantine(database: Database, settings: Settings) -> Iterator[Finding]:
    """How many items somebody should look at."""
    with database.read() as session:
        number = quarantine.count(session)
    if number:
        yield warning("quarantine", f"items set aside: {number:,}", "look at them with `casemill quarantine list`")
    else:
        yield ok("quarantine", "empty")


def check_invariants(database: Database, settings: Settings) -> Iterator[Finding]:
    """What must always be true of a running house, looked through whole. One that does not run has no signs of life to give."""
    with database.read() as session:
        now = database.now(session)
        found = checks.check(session, settings, now, whole=True)
        running = checks.is_running(session, now)
    broken = [one for one in found if one.is_violated]
    life = {checks.DEAD_LEASES, checks.SILENT_MAILBOXES}
    for one in broken:
        told = problem if running or one.code not in life else warning
        yield told("invariants", one.text, one.hint)
    if len(broken) < len(found):
        yield ok("invariants", f"{len(found) - len(broken)} of {len(found)} hold")


def check_routing(database: Database, settings: Settings) -> Iterator[Finding]:
    """Whether every rule leads to somebody."""
    staff = _active(database)
    targets = [(f"rule {number}", rule.person, rule.team) for number, rule in enumerate(settings.routing.rules, 1)]
    targets.append(("telemedicine", settings.routing.telemedicine.person, settings.routing.telemedicine.team))
    wrong = False
    for what, person, team in targets:
        if person and person not in staff:
            wrong = True
            yield problem("routing", f"{what}: {person} is not on the staff", f"casemill staff add {person}")
        if team and team not in settings.teams:
            wrong = True
            yield problem("routing", f"{what}: there is no team {team}", f"add [teams.{team}], or correct the name")
    if not wrong:
        yield ok("routing", "every rule leads to somebody" if settings.routing.rules else "no rules")


CHECKS: dict[str, Callable[[Database, Settings], Iterator[Finding]]] = {
    "clock": check_clock,
    "staff": check_staff,
    "teams": check_teams,
    "routing": check_routing,
    "queue": check_waiting,
    "quarantine": check_quarantine,
    "invariants": check_invariants,
}


def _active(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.execute(select(Staff.email).where(Staff.active)).scalars())


def _unknown_people(settings: Settings, staff: set[str]) -> Iterator[Finding]:
    for name, team in settings.teams.items():
        for email in (*team.members, *([team.manager] if team.manager else [])):
            if email not in staff:
                yield problem("teams", f"{name}: {email} is not on the staff", f"casemill staff add {email}")


def _count_due(session: Session, table: Any, conditions: tuple[ColumnElement[bool], ...]) -> tuple[int, datetime | None]:
    row = session.execute(select(func.count(), func.min(table.due_at)).select_from(table).where(*conditions)).one()
    return row[0], row[1]
