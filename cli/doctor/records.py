"""Checks of `casemill doctor` in the database: clock, staff, teams, routing, overdue work, quarantine and invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from accounts.models import Staff
from accounts.teams import find_default_team
from core import clock
from core.database.session import Database
from core.findings import Finding, Severity, ok, problem, warning
from core.settings import Settings
from ingest.ledger import quarantine
from ingest.ledger.models import InboundItem
from notify.models import Delivery
from ops.invariants import checks
from outbox.models import OutboxFact

#: Work that has been due for longer than this is stuck.
MAX_DUE_AGE = timedelta(minutes=1)
#: A larger difference of the clocks makes leases and due times unreliable.
MAX_CLOCK_DRIFT = timedelta(seconds=5)


def check_clock(database: Database, settings: Settings) -> Iterator[Finding]:
    """Compare the clock of this machine with the database's."""
    if database.is_sqlite:
        yield ok("clock", "the database is on this machine and uses its clock")
        return
    with database.read() as session:
        before = clock.now()
        database_time = database.now(session)
        drift = abs(database_time - (before + (clock.now() - before) / 2))
    text = f"{drift.total_seconds():.1f} seconds apart from the database's clock"
    yield problem("clock", text, "set both clocks by NTP") if drift > MAX_CLOCK_DRIFT else ok("clock", text)


def check_teams(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check that there is a default team with members, and that every person named in a team is on the staff."""
    if not settings.teams:
        yield warning("teams", "none: tickets without a consultant wait unassigned", "add a [teams.NAME] section with members")
        return
    default = find_default_team(settings.teams)
    staff = _active_staff(database)
    findings = list(_find_unknown_staff(settings, staff))
    if default is not None and not any(email in staff for email in settings.teams[default].members):
        text = f"the default team {default} has no member who is on the staff"
        findings.append(problem("teams", text, "add its members with `casemill staff add`"))
    yield from findings or [ok("teams", f"all on the staff; {default} is the default")]


def check_staff(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check that there are staff, and that each of them has working hours."""
    with database.read() as session:
        people = list(session.execute(select(Staff).where(Staff.active).order_by(Staff.email)).scalars())
    idle = [one.email for one in people if not one.weekdays or one.starts >= one.ends]
    for email in idle:
        hint = f"casemill staff add {email} --days Mon-Fri --hours 08:00-17:00"
        yield problem("staff", f"{email} has no working hours, so no ticket is ever assigned by load", hint)
    if not people:
        yield warning("staff", "none: every ticket waits unassigned", "add people with `casemill staff add`")
    elif not idle:
        yield ok("staff", f"{len(people)} active, all with working hours")


def check_overdue_work(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check that no work has been due for more than a minute. Otherwise no worker is running, or one is stuck."""
    late = clock.now() - MAX_DUE_AGE
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
        yield problem(
            "queue",
            f"waiting: {', '.join(stuck)}",
            "check that `casemill run` (or workers and tick) is running, and read its log",
        )
    else:
        yield ok("queue", "no work has been due for more than a minute")


def check_quarantine(database: Database, settings: Settings) -> Iterator[Finding]:
    """Report how many items are quarantined."""
    with database.read() as session:
        number = quarantine.count(session)
    if number:
        yield warning("quarantine", f"items in quarantine: {number:,}", "review them with `casemill quarantine list`")
    else:
        yield ok("quarantine", "empty")


def check_invariants(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check the production invariants in all rows. Missing heartbeats are only a warning while casemill is not running."""
    with database.read() as session:
        now = database.now(session)
        findings = checks.check_invariants(session, settings, now, all_rows=True)
        is_running = checks.is_running(session, now)
    violated = [finding for finding in findings if not finding.is_ok]
    for finding in violated:
        is_warning = finding.check in (checks.DEAD_LEASES, checks.SILENT_MAILBOXES) and not is_running
        severity = Severity.WARNING if is_warning else finding.severity
        yield replace(finding, check="invariants", severity=severity)
    if len(violated) < len(findings):
        yield ok("invariants", f"{len(findings) - len(violated)} of {len(findings)} hold")


def check_routing(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check that every routing rule names staff and teams that exist."""
    staff = _active_staff(database)
    targets = [(f"rule {number}", rule.person, rule.team) for number, rule in enumerate(settings.routing.rules, 1)]
    targets.append(("telemedicine", settings.routing.telemedicine.person, settings.routing.telemedicine.team))
    has_problem = False
    for what, person, team in targets:
        if person and person not in staff:
            has_problem = True
            yield problem("routing", f"{what}: {person} is not on the staff", f"casemill staff add {person}")
        if team and team not in settings.teams:
            has_problem = True
            yield problem("routing", f"{what}: there is no team {team}", f"add [teams.{team}], or correct the name")
    if not has_problem:
        yield ok("routing", "every rule names staff and teams that exist" if settings.routing.rules else "no rules")


CHECKS: dict[str, Callable[[Database, Settings], Iterator[Finding]]] = {
    "clock": check_clock,
    "staff": check_staff,
    "teams": check_teams,
    "routing": check_routing,
    "queue": check_overdue_work,
    "quarantine": check_quarantine,
    "invariants": check_invariants,
}


def _active_staff(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.execute(select(Staff.email).where(Staff.active)).scalars())


def _find_unknown_staff(settings: Settings, staff: set[str]) -> Iterator[Finding]:
    for name, team in settings.teams.items():
        for email in (*team.members, *([team.manager] if team.manager else [])):
            if email not in staff:
                yield problem("teams", f"{name}: {email} is not on the staff", f"casemill staff add {email}")


def _count_due(session: Session, table: Any, conditions: tuple[ColumnElement[bool], ...]) -> tuple[int, datetime | None]:
    row = session.execute(select(func.count(), func.min(table.due_at)).select_from(table).where(*conditions)).one()
    return row[0], row[1]
