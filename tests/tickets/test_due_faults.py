"""Timers under adverse conditions: business days, inactive people, failing rows, concurrent sweeps, a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.database.session import Database
from core.settings.sections import Calendar
from outbox.facts import TaskRaised
from tests.tickets.staff_actions import clock_at, complete, mark, reopen, sweep, tasks
from tests.tickets.world import NOW, World, dana_mail
from tickets import lifecycle, timers
from tickets.models import FollowUp, Ticket

DAY = timedelta(days=1)
MANY = 60


@pytest.fixture
def staffed(world: World) -> World:
    """Ada consults for Lakeside, which Max manages; Olga manages the default team."""
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.team("billing", default=True, manager=world.staff("Olga", role="manager"))
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    return world


def raised(world: World) -> list[tuple[int, str]]:
    return sorted((fact.ticket_id, fact.rule) for fact in world.facts() if isinstance(fact, TaskRaised))


def test_timers_skip_weekends_and_holidays_in_business_days(staffed: World) -> None:
    staffed.configure(calendar={"days": "business", "holidays": [date(2026, 11, 26)]})
    wednesday = datetime(2026, 11, 25, 15, tzinfo=UTC)  # 10:00 in New York, the day before Thanksgiving
    staffed.receive(dana_mail(), now=wednesday)
    sweep(staffed, datetime(2026, 11, 30, 14, 59, tzinfo=UTC))
    assert tasks(staffed) == []
    sweep(staffed, datetime(2026, 11, 30, 15, tzinfo=UTC))
    assert tasks(staffed) == [("reminder", "Ada", False)]
    sweep(staffed, datetime(2026, 12, 1, 15, tzinfo=UTC))
    assert tasks(staffed) == [("reminder", "Ada", False), ("escalation", "Max", False)]


def test_a_reopened_ticket_counts_business_days_too(staffed: World) -> None:
    staffed.configure(calendar={"days": "business"})
    staffed.receive(dana_mail())
    complete(staffed)
    reopen(staffed, at=datetime(2026, 11, 27, 15, tzinfo=UTC))  # a Friday
    ticket = staffed.ticket(1)
    assert ticket.reminder_due_at == datetime(2026, 12, 1, 15, tzinfo=UTC)
    assert ticket.escalation_due_at == datetime(2026, 12, 2, 15, tzinfo=UTC)


@pytest.mark.parametrize("gone", ["Ada", "Max"])
def test_task_of_an_inactive_person_goes_to_the_default_teams_manager(staffed: World, gone: str) -> None:
    staffed.receive(dana_mail())
    staffed.database.transaction(
        lambda session: session.execute(update(Staff).where(Staff.name == gone).values(active=False)) and None
    )
    sweep(staffed, NOW + 3 * DAY)
    expected = [("reminder", "Ada", False), ("escalation", "Max", False)]
    assert tasks(staffed) == [(kind, "Olga" if who == gone else who, done) for kind, who, done in expected]


def test_milestone_reached_in_time_clears_its_timer(staffed: World) -> None:
    staffed.receive(dana_mail())
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved):
        mark(staffed, verb, at=NOW + 2 * DAY - timedelta(seconds=1))
    with clock_at(NOW + 30 * DAY):
        assert timers.sweep(staffed.database, staffed.settings.calendar) == 0
    assert tasks(staffed) == []


def test_two_processes_sweeping_at_once_raise_every_task_once(staffed: World) -> None:
    staffed.receive(*(dana_mail() for _ in range(MANY)))
    other = Database(staffed.database.url.render_as_string(hide_password=False))
    gate, failures = threading.Barrier(4), list[BaseException]()

    def run(database: Database) -> None:
        try:
            gate.wait()
            while timers.sweep(database, Calendar()):
                pass
        except BaseException as error:
            failures.append(error)

    with time_machine.travel(NOW + 3 * DAY, tick=True):
        threads = [threading.Thread(target=run, args=(one,)) for one in (staffed.database, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    other.close()
    assert failures == []
    assert raised(staffed) == sorted((number, kind) for number in range(1, MANY + 1) for kind in ("reminder", "escalation"))
    assert staffed.count(FollowUp) == 2 * MANY


def test_after_a_restart_fired_timers_stay_fired_and_the_rest_fire(staffed: World) -> None:
    staffed.receive(dana_mail())
    sweep(staffed, NOW + 2 * DAY)
    staffed.database.close()
    again = World(Database(staffed.database.url.render_as_string(hide_password=False)))
    sweep(again, NOW + 9 * DAY)
    assert raised(again) == [(1, "escalation"), (1, "reminder")]
    again.database.close()


@contextmanager
def refusing(database: Database, ticket_id: int) -> Iterator[None]:
    """The database itself refuses a task of this ticket."""
    refuse = f"NEW.ticket_id = {ticket_id}"
    if database.is_sqlite:
        body = f"BEFORE INSERT ON follow_up WHEN {refuse} BEGIN SELECT RAISE(ABORT, 'private'); END"
        make, drop = [f"CREATE TRIGGER refusing {body}"], "DROP TRIGGER refusing"
    else:
        make = [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'private'; END $$",
            f"CREATE TRIGGER refusing BEFORE INSERT ON follow_up FOR EACH ROW WHEN ({refuse}) EXECUTE FUNCTION refuse()",
        ]
        drop = "DROP TRIGGER refusing ON follow_up"
    for statement in make:
        database.transaction(lambda session, one=statement: session.execute(text(one)) and None)  # type: ignore[misc]
    yield
    database.transaction(lambda session: session.execute(text(drop)) and None)


def test_failing_timer_is_postponed_and_does_not_block_the_others(staffed: World, caplog: pytest.LogCaptureFixture) -> None:
    staffed.receive(*(dana_mail() for _ in range(4)))
    moment = NOW + 2 * DAY
    with refusing(staffed.database, 2), caplog.at_level(logging.INFO, "casemill.timers"):
        sweep(staffed, moment)
        assert raised(staffed) == [(1, "reminder"), (3, "reminder"), (4, "reminder")]
        assert staffed.ticket(2).reminder_due_at == moment + timers.RETRY_DELAY
    assert [record.__dict__["ticket"] for record in caplog.records] == [2]
    assert "private" not in caplog.records[0].getMessage()
    sweep(staffed, moment + timers.RETRY_DELAY - timedelta(seconds=1))
    assert tasks(staffed, 2) == []
    sweep(staffed, moment + timers.RETRY_DELAY)
    assert tasks(staffed, 2) == [("reminder", "Ada", False)]


@pytest.mark.parametrize("wound_up", [None, NOW + 30 * DAY])
def test_timer_changed_while_it_failed_is_not_postponed(staffed: World, wound_up: datetime | None) -> None:
    staffed.receive(dana_mail())

    def unit(session: Session) -> None:
        session.execute(update(Ticket).values(reminder_due_at=wound_up))
        timers._postpone(session, timers.TIMERS[0], 1)

    with clock_at(NOW + 3 * DAY):
        staffed.database.transaction(unit)
    assert staffed.ticket(1).reminder_due_at == wound_up
