"""`casemill tasks`: follow-up tasks listed, added, done, opened again, handed over, postponed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from accounts.models import Staff
    from tickets.models import FollowUp

    Verb = Callable[[Session, Staff, datetime], FollowUp]

tasks_app = typer.Typer(
    help="Follow-up tasks: list them, the most overdue first, or do something about one.",
    epilog="Example: casemill tasks --for omar@billing.example --today",
)

Task = Annotated[int, typer.Argument(help="The task's number, as listed.")]
By = Annotated[str, typer.Option(help="Your email address, as on the staff list.", envvar="CASEMILL_USER")]
Why = Annotated[str, typer.Option(help="Why; it stays on the ticket's timeline.")]
Due = Annotated[str, typer.Option(help="Day (its end of work) or moment, in your time zone, such as 2027-01-04T12:00.")]


@tasks_app.callback(invoke_without_command=True)
def list_all(
    context: typer.Context,
    mine: Annotated[str | None, typer.Option("--for", help="Only tasks of this person and their teams, by address.")] = None,
    today: Annotated[bool, typer.Option("--today", help="Only what is due by the end of today.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what is overdue.")] = False,
    finished: Annotated[bool, typer.Option("--finished", help="Those that are done in place of the open ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")] = False,
) -> None:
    """List follow-up tasks, the most overdue first; or do something about one."""
    if context.invoked_subcommand is not None:
        return
    if finished and (today or overdue):
        raise typer.BadParameter("what is done is neither due nor overdue: leave --finished out, or the others")
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets.deadlines import day_after
    from tickets.tasks import list_tasks

    with console.report_errors(), open_database() as (settings, database), database.read() as session:
        now = clock.now()
        person = find_person(session, mine) if mine else None
        ends = day_after(now, person.zone if person else settings.calendar.zone) if today else None
        until = now if overdue else ends
        email = person.email if person else None
        rows = list_tasks(session, now, assignee=email, done=finished, until=until, limit=limit)
    if json:
        console.print_json(rows)
    else:
        _print_tasks(rows, finished)


@tasks_app.command("add", epilog="Example: casemill tasks add BS-000123 'Ask the payer' --due 2027-01-04")
def add(
    ticket: Annotated[str, typer.Argument(help="The ticket's number, such as BS-000123.")],
    title: Annotated[str, typer.Argument(help="What is to be done.")],
    due: Due,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of who is to do it; you, when left out.")] = None,
) -> None:
    """Add a task to a ticket."""
    from accounts.directory import find_person
    from tickets import follow_ups
    from tickets.numbers import parse_number

    ticket_id = parse_number(ticket)
    if ticket_id is None:
        raise typer.BadParameter(f"{ticket!r} is no ticket number; they look like BS-000123")

    def verb(session: Session, staff: Staff, now: datetime) -> FollowUp:
        assignee = find_person(session, to) if to else None
        return follow_ups.add_task(session, ticket_id, title, _parse_due(due, staff), staff, now, to=assignee)

    _change_task(by, verb)


@tasks_app.command("done", epilog="Example: casemill tasks done 17 --by you@billing.example")
def done(task: Task, by: By) -> None:
    """Mark a task as done; the marks of its ticket are not set by that."""
    from tickets import follow_ups

    _change_task(by, lambda session, staff, now: follow_ups.finish_task(session, task, staff, now))


@tasks_app.command("reopen", epilog="Example: casemill tasks reopen 17 --reason 'They never called back'")
def reopen(task: Task, by: By, reason: Why) -> None:
    """Open a task again that was called done."""
    from tickets import follow_ups

    _change_task(by, lambda session, staff, now: follow_ups.reopen_task(session, task, staff, reason, now))


@tasks_app.command("hand-over", epilog="Example: casemill tasks hand-over 17 --to omar@billing.example")
def hand_over(
    task: Task,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of who is to do it now; you, when left out.")] = None,
    reason: Why = "",
) -> None:
    """Hand a task over to somebody else, or take it."""
    from accounts.directory import find_person
    from tickets import follow_ups

    def verb(session: Session, staff: Staff, now: datetime) -> FollowUp:
        return follow_ups.reassign_task(session, task, find_person(session, to) if to else staff, staff, reason, now)

    _change_task(by, verb)


@tasks_app.command("postpone", epilog="Example: casemill tasks postpone 17 --due 2027-01-04 --reason 'The payer is closed'")
def postpone(task: Task, due: Due, by: By, reason: Why) -> None:
    """Give a task another moment."""
    from tickets import follow_ups

    _change_task(
        by, lambda session, staff, now: follow_ups.postpone_task(session, task, _parse_due(due, staff), staff, reason, now)
    )


def _change_task(by: str, verb: Verb) -> None:
    """Do it as the member of staff ``by``, and say how the task stands."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets.tasks import show_task

    with console.report_errors(), open_database() as (_, database):
        task_id = database.transaction(lambda session: verb(session, find_person(session, by), clock.now()).id)
        with database.read() as session:
            row = show_task(session, task_id, clock.now()) or {}
    state = f"done {_minute(row['done_at'])}" if row["done_at"] else f"due {_minute(row['due_at'])}"
    console.print_line(f"task {task_id} of {row['ticket']} for {console.format_value(row['assignee'] or 'nobody')}: {state}")


def _parse_due(text: str, staff: Staff) -> datetime:
    """A moment in somebody's zone, in UTC; a day is meant up to the end of their work."""
    from datetime import UTC
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        problem = f"{text!r} is no day or moment; write 2027-01-04 or 2027-01-04T12:00"
        raise typer.BadParameter(problem, param_hint="--due") from None
    if len(text.strip()) <= len("2027-01-04"):
        moment = datetime.combine(moment.date(), staff.ends)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(staff.zone))).astimezone(UTC)


def _print_tasks(rows: list[dict[str, Any]], finished: bool) -> None:
    from cli import console

    columns = [
        console.Column("task", no_wrap=True, align_right=True), console.Column("ticket", no_wrap=True), console.Column("what"),
        console.Column("for"), console.Column("due", no_wrap=True), console.Column("done" if finished else "", no_wrap=True),
    ]  # fmt: skip
    cells = [
        (row["id"], row["ticket"], row["title"], row["assignee"] or "nobody", _minute(row["due_at"]),
         _minute(row["done_at"]) or ("overdue" if row["overdue"] else ""))
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="no tasks")


def _minute(moment: str | None) -> str:
    return (moment or "")[:16].replace("T", " ")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(tasks_app, name="tasks")
