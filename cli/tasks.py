"""`casemill tasks`: list follow-up tasks, and add, finish, reopen, reassign or postpone one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import By, Json, Reason, format_minute, parse_ticket_number

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from accounts.models import Staff
    from tickets.models import FollowUp

    TaskChange = Callable[[Session, Staff, datetime], FollowUp]

tasks_app = typer.Typer(
    help="Follow-up tasks: list them, most overdue first, or change one.",
    epilog="Example: casemill tasks --for omar@billing.example --today",
)

Task = Annotated[int, typer.Argument(help="The number in the first column of `casemill tasks`.")]
Due = Annotated[str, typer.Option(help="Day (until the end of your working hours) or time, in your time zone: 2027-01-04T12:00.")]


@tasks_app.callback(invoke_without_command=True)
def list_all(
    context: typer.Context,
    mine: Annotated[
        str | None, typer.Option("--for", help="Only the tasks of this person and their teams: email address.")
    ] = None,
    today: Annotated[bool, typer.Option("--today", help="Only tasks that are due by the end of today.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only overdue tasks.")] = False,
    finished: Annotated[bool, typer.Option("--finished", help="Show finished tasks instead of open ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of tasks to show.")] = 1000,
    json: Json = False,
) -> None:
    """List follow-up tasks, most overdue first; or change one."""
    if context.invoked_subcommand is not None:
        return
    if finished and (today or overdue):
        raise typer.BadParameter("finished tasks are not due: use either --finished, or --today and --overdue")
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


@tasks_app.command(
    "add", epilog="Example: casemill tasks add BS-000123 'Ask the payer' --due 2027-01-04 --by you@billing.example"
)
def add(
    ticket: Annotated[str, typer.Argument(help="The ticket number, for example BS-000123.")],
    title: Annotated[str, typer.Argument(help="What has to be done.")],
    due: Due,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of the assignee. Default: you.")] = None,
) -> None:
    """Add a task to a ticket."""
    from accounts.directory import find_person
    from tickets import follow_ups

    ticket_id = parse_ticket_number(ticket)

    def change(session: Session, staff: Staff, now: datetime) -> FollowUp:
        assignee = find_person(session, to) if to else None
        return follow_ups.add_task(session, ticket_id, title, _parse_due(due, staff), staff, now, to=assignee)

    _change_task(by, change)


@tasks_app.command("done", epilog="Example: casemill tasks done 17 --by you@billing.example")
def done(task: Task, by: By) -> None:
    """Mark a task as done. The checkboxes of its ticket stay as they are."""
    from tickets import follow_ups

    _change_task(by, lambda session, staff, now: follow_ups.finish_task(session, task, staff, now))


@tasks_app.command(
    "reopen", epilog="Example: casemill tasks reopen 17 --by you@billing.example --reason 'They never called back'"
)
def reopen(task: Task, by: By, reason: Reason) -> None:
    """Reopen a task that was marked as done."""
    from tickets import follow_ups

    _change_task(by, lambda session, staff, now: follow_ups.reopen_task(session, task, staff, reason, now))


@tasks_app.command("hand-over", epilog="Example: casemill tasks hand-over 17 --by you@billing.example --to omar@billing.example")
def hand_over(
    task: Task,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of the new assignee. Default: you.")] = None,
    reason: Reason = "",
) -> None:
    """Reassign a task to a colleague, or to yourself."""
    from accounts.directory import find_person
    from tickets import follow_ups

    def change(session: Session, staff: Staff, now: datetime) -> FollowUp:
        return follow_ups.reassign_task(session, task, find_person(session, to) if to else staff, staff, reason, now)

    _change_task(by, change)


@tasks_app.command("postpone", epilog="Example: casemill tasks postpone 17 --due 2027-01-04 --reason 'The payer is closed'")
def postpone(task: Task, due: Due, by: By, reason: Reason) -> None:
    """Change the due date of a task."""
    from tickets import follow_ups

    _change_task(
        by, lambda session, staff, now: follow_ups.postpone_task(session, task, _parse_due(due, staff), staff, reason, now)
    )


def _change_task(by: str, change: TaskChange) -> None:
    """Change a task on behalf of the member of staff ``by``, and print its new state."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets.tasks import show_task

    with console.report_errors(), open_database() as (_, database):
        task_id = database.transaction(lambda session: change(session, find_person(session, by), clock.now()).id)
        with database.read() as session:
            row = show_task(session, task_id, clock.now()) or {}
    state = f"done {format_minute(row['done_at'])}" if row["done_at"] else f"due {format_minute(row['due_at'])}"
    assignee = f"for {console.format_value(row['assignee'])}" if row["assignee"] else "without assignee"
    console.print_line(f"task {task_id} of {row['ticket']} {assignee}: {state}")


def _parse_due(text: str, staff: Staff) -> datetime:
    """Return a due date in UTC. A time is in the zone of ``staff``; a day ends with their working hours."""
    from datetime import UTC
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        problem = f"{text!r} is not a date or time; write 2027-01-04 or 2027-01-04T12:00"
        raise typer.BadParameter(problem, param_hint="--due") from None
    if len(text.strip()) <= len("2027-01-04"):
        moment = datetime.combine(moment.date(), staff.ends)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(staff.zone))).astimezone(UTC)


def _print_tasks(rows: list[dict[str, Any]], finished: bool) -> None:
    from cli import console

    columns = [
        console.Column("number", no_wrap=True, align_right=True),
        console.Column("ticket", no_wrap=True),
        console.Column("task"),
        console.Column("for"),
        console.Column("due", no_wrap=True),
        console.Column("done" if finished else "", no_wrap=True),
    ]
    cells = [
        (row["id"], row["ticket"], row["title"], row["assignee"] or "unassigned", format_minute(row["due_at"]),
         format_minute(row["done_at"]) or ("overdue" if row["overdue"] else ""))
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="no tasks")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(tasks_app, name="tasks")
