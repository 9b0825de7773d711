"""What the API lets do: the verbs of tickets and tasks, the same as everywhere else, in one unit of work each."""

from __future__ import annotations

from typing import Any

from accounts.directory import find_person
from accounts.models import Staff
from tickets import follow_ups, lifecycle, manual_entry, permissions, queries, staff_messages, tasks
from tickets.manual_entry import ManualEntry
from tickets.models import FollowUp
from tickets.models import Ticket as TicketRecord
from tickets.numbers import number
from tickets.permissions import Act
from web.api.context import Call


def create_ticket(call: Call) -> dict[str, Any]:
    permissions.require(call.by, Act.ENTER)
    new = call.body
    entered = ManualEntry(
        owner=new.owner or call.by.email, company=new.company, email=new.email, name=new.name, phone=new.phone,
        description=new.description, contacts=tuple(new.contacts), category=new.category, issue=new.issue,
        detail=new.issue_detail, prefers=new.preferred_contact, on_company_timeline=new.on_company_timeline,
        on_contact_timeline=new.on_contact_timeline,
    )  # fmt: skip
    return _shown(call, manual_entry.create(call.session, manual_entry.to_submission(entered, call.now), call.settings, call.now))


def reply(call: Call) -> dict[str, Any]:
    return _write(call, staff_messages.MORE if call.body.kind == "question" else staff_messages.REPLY)


def recap(call: Call) -> dict[str, Any]:
    return _write(call, staff_messages.RECAP_LETTER)


def _write(call: Call, kind: str) -> dict[str, Any]:
    """Composed, then sent if that is wanted: what keeps it from being sent is a refusal that names it."""
    permissions.require(call.by, Act.WRITE)
    asked, ticket_id = call.body, call.ticket_id()
    draft = staff_messages.compose(
        call.session, ticket_id, call.by, kind, template=asked.template, values=asked.values, to=asked.to
    )
    subject = asked.subject if asked.subject is not None else draft.subject
    text = asked.text if asked.text is not None else draft.text
    activity_id = None
    if asked.send:
        activity_id = staff_messages.send(
            call.session, ticket_id, call.by, kind, subject, text, call.now, to=asked.to, template=draft.template
        )
    words = set(staff_messages.lacks(draft.subject, draft.text))
    problems = [*(one for one in draft.problems if one not in words), *staff_messages.lacks(subject, text)]
    return {
        "number": number(ticket_id), "subject": subject, "text": text, "to": list(draft.to), "problems": problems,
        "entry": activity_id,
    }  # fmt: skip


def add_note(call: Call) -> dict[str, Any]:
    return _after(call, lifecycle.add_note(call.session, call.ticket_id(), call.by, call.body.text, call.now))


def assign(call: Call) -> dict[str, Any]:
    to = _person(call, call.body.to)
    return _after(call, lifecycle.assign(call.session, call.ticket_id(), to, call.by, call.body.reason, call.now))


def mark_follow_up_sent(call: Call) -> dict[str, Any]:
    return _after(call, lifecycle.mark_follow_up_sent(call.session, call.ticket_id(), call.by, call.now))


def mark_resolved(call: Call) -> dict[str, Any]:
    return _after(call, lifecycle.mark_resolved(call.session, call.ticket_id(), call.by, call.now))


def mark_recap_sent(call: Call) -> dict[str, Any]:
    return _after(call, lifecycle.mark_recap_sent(call.session, call.ticket_id(), call.by, call.now))


def reopen(call: Call) -> dict[str, Any]:
    return _after(call, lifecycle.reopen(call.session, call.ticket_id(), call.by, call.body.reason, call.settings, call.now))


def move(call: Call) -> dict[str, Any]:
    asked = call.body
    moved = lifecycle.move_by_force(call.session, call.ticket_id(), asked.stage, call.by, asked.reason, call.settings, call.now)
    return _after(call, moved)


def add_task(call: Call) -> dict[str, Any]:
    asked = call.body
    to = find_person(call.session, asked.to) if asked.to else None
    return _task(call, follow_ups.add_task(call.session, call.ticket_id(), asked.title, asked.due_at, call.by, call.now, to=to))


def finish_task(call: Call) -> dict[str, Any]:
    return _task(call, follow_ups.finish_task(call.session, call.number("id"), call.by, call.now))


def reopen_task(call: Call) -> dict[str, Any]:
    return _task(call, follow_ups.reopen_task(call.session, call.number("id"), call.by, call.body.reason, call.now))


def hand_over_task(call: Call) -> dict[str, Any]:
    to = _person(call, call.body.to)
    return _task(call, follow_ups.hand_over_task(call.session, call.number("id"), to, call.by, call.body.reason, call.now))


def postpone_task(call: Call) -> dict[str, Any]:
    asked = call.body
    return _task(call, follow_ups.postpone_task(call.session, call.number("id"), asked.due_at, call.by, asked.reason, call.now))


def _person(call: Call, email: str | None) -> Staff:
    return find_person(call.session, email) if email else call.by


def _after(call: Call, ticket: TicketRecord) -> dict[str, Any]:
    return _shown(call, ticket.id)


def _shown(call: Call, ticket_id: int) -> dict[str, Any]:
    call.session.flush()
    return queries.show(call.session, ticket_id) or {}


def _task(call: Call, task: FollowUp) -> dict[str, Any]:
    call.session.flush()
    return tasks.show_task(call.session, task.id, call.now) or {}
