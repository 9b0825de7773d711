"""Handlers of the API's write operations on tickets and tasks; they call the same functions as commands and pages.

The table in :mod:`web.api.routes` says what each handler does. Its name is the operationId of the OpenAPI document.
"""

from __future__ import annotations

from typing import Any

from accounts.directory import find_person
from accounts.models import Staff
from tickets import follow_ups, lifecycle, manual_entry, permissions, queries, staff_messages, tasks
from tickets.manual_entry import ManualEntry
from tickets.models import FollowUp
from tickets.numbers import format_number
from tickets.permissions import Action
from web.api.context import Call


def create_ticket(call: Call) -> dict[str, Any]:
    permissions.require(call.staff, Action.ENTER)
    new = call.body
    entered = ManualEntry(
        owner=new.owner or call.staff.email, company=new.company, email=new.email, name=new.name, phone=new.phone,
        description=new.description, contacts=tuple(new.contacts), category=new.category, issue=new.issue,
        detail=new.issue_detail, prefers=new.preferred_contact, on_company_timeline=new.on_company_timeline,
        on_contact_timeline=new.on_contact_timeline,
    )  # fmt: skip
    return _show_ticket(
        call, manual_entry.create(call.session, manual_entry.to_submission(entered, call.now), call.settings, call.now)
    )


def reply(call: Call) -> dict[str, Any]:
    return _send_message(call, staff_messages.QUESTION if call.body.kind == "question" else staff_messages.REPLY)


def recap(call: Call) -> dict[str, Any]:
    return _send_message(call, staff_messages.RECAP_MESSAGE)


def _send_message(call: Call, kind: str) -> dict[str, Any]:
    """Compose a staff message, and send it unless the request asks for a preview.

    Raises RefusedError when the text has an unfilled placeholder; the refusal names it.
    """
    permissions.require(call.staff, Action.WRITE)
    body, ticket_id = call.body, call.ticket_id()
    draft = staff_messages.compose(
        call.session, ticket_id, call.staff, kind, template=body.template, values=body.values, to=body.to
    )
    subject = body.subject if body.subject is not None else draft.subject
    text = body.text if body.text is not None else draft.text
    activity_id = None
    if body.send:
        activity_id = staff_messages.send(
            call.session, ticket_id, call.staff, kind, subject, text, call.now, to=body.to, template=draft.template
        )
    template_problems = set(staff_messages.find_problems(draft.subject, draft.text))
    problems = [
        *(problem for problem in draft.problems if problem not in template_problems),
        *staff_messages.find_problems(subject, text),
    ]
    return {
        "number": format_number(ticket_id), "subject": subject, "text": text, "to": list(draft.to), "problems": problems,
        "entry": activity_id,
    }  # fmt: skip


def add_note(call: Call) -> dict[str, Any]:
    return _show_ticket(call, lifecycle.add_note(call.session, call.ticket_id(), call.staff, call.body.text, call.now).id)


def assign(call: Call) -> dict[str, Any]:
    to = _find_person_or_caller(call, call.body.to)
    return _show_ticket(call, lifecycle.assign(call.session, call.ticket_id(), to, call.staff, call.body.reason, call.now).id)


def mark_follow_up_sent(call: Call) -> dict[str, Any]:
    return _show_ticket(call, lifecycle.mark_follow_up_sent(call.session, call.ticket_id(), call.staff, call.now).id)


def mark_resolved(call: Call) -> dict[str, Any]:
    return _show_ticket(call, lifecycle.mark_resolved(call.session, call.ticket_id(), call.staff, call.now).id)


def mark_recap_sent(call: Call) -> dict[str, Any]:
    return _show_ticket(call, lifecycle.mark_recap_sent(call.session, call.ticket_id(), call.staff, call.now).id)


def reopen(call: Call) -> dict[str, Any]:
    return _show_ticket(
        call, lifecycle.reopen(call.session, call.ticket_id(), call.staff, call.body.reason, call.settings, call.now).id
    )


def move(call: Call) -> dict[str, Any]:
    body = call.body
    moved = lifecycle.force_stage(call.session, call.ticket_id(), body.stage, call.staff, body.reason, call.settings, call.now)
    return _show_ticket(call, moved.id)


def add_task(call: Call) -> dict[str, Any]:
    body = call.body
    to = find_person(call.session, body.to) if body.to else None
    return _show_task(
        call, follow_ups.add_task(call.session, call.ticket_id(), body.title, body.due_at, call.staff, call.now, to=to)
    )


def finish_task(call: Call) -> dict[str, Any]:
    return _show_task(call, follow_ups.finish_task(call.session, call.number("id"), call.staff, call.now))


def reopen_task(call: Call) -> dict[str, Any]:
    return _show_task(call, follow_ups.reopen_task(call.session, call.number("id"), call.staff, call.body.reason, call.now))


def hand_over_task(call: Call) -> dict[str, Any]:
    to = _find_person_or_caller(call, call.body.to)
    return _show_task(call, follow_ups.reassign_task(call.session, call.number("id"), to, call.staff, call.body.reason, call.now))


def postpone_task(call: Call) -> dict[str, Any]:
    body = call.body
    return _show_task(
        call, follow_ups.postpone_task(call.session, call.number("id"), body.due_at, call.staff, body.reason, call.now)
    )


def _find_person_or_caller(call: Call, email: str | None) -> Staff:
    return find_person(call.session, email) if email else call.staff


def _show_ticket(call: Call, ticket_id: int) -> dict[str, Any]:
    call.session.flush()
    return queries.show(call.session, ticket_id) or {}


def _show_task(call: Call, task: FollowUp) -> dict[str, Any]:
    call.session.flush()
    return tasks.show_task(call.session, task.id, call.now) or {}
