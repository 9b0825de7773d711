"""Mailings: which fact tells whom what. Readers of facts; they only write rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Company, Contact, Staff
from core.database.bulk import insert_ignore
from core.database.in_lists import among
from core.reasons import Reason
from notify.models import Delivery
from outbox.append import append_facts
from outbox.facts import Fact, NoticeSettled, SurveyAnswered, SurveyDue, TaskRaised, TicketAssigned, TicketCreated
from tickets import creation_notice
from tickets.creation_notice import NoticeOutcome
from tickets.models import Ticket

CREATED, ASSIGNED = "ticket_created", "ticket_assigned"
INVITATION, ANSWERED = "survey_invitation", "survey_answered"
#: The rule that raised a task → the mailing that tells of it.
TASK_MAILINGS = {"reminder": "follow_up_reminder", "escalation": "escalation"}
#: Mailings whose frozen bytes may be sent once more when nobody can tell whether they arrived (reliability.md, promise 3).
REPEATABLE = {CREATED, "recap_of_resolution"}
#: Mailings whose outcome moves nothing on: their rows alone tell of it, and no fact does.
UNHEARD = {ASSIGNED, ANSWERED, *TASK_MAILINGS.values()}


def on_ticket_created(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """The creation notice to the requester, or the record of why there is none."""
    created = {fact.ticket_id: fact for fact in batch if isinstance(fact, TicketCreated)}
    statement = select(Ticket.id, Ticket.created_at, Contact.email).outerjoin(Contact, Contact.id == Ticket.requester_id)
    rows = []
    for ticket_id, created_at, email in session.execute(statement.where(among(Ticket.id, created)).order_by(Ticket.id)):
        fact = created[ticket_id]
        row = make_row(f"{CREATED}:{ticket_id}", CREATED, ticket_id, email, True, now)
        row["context"] = {"received_at": created_at.isoformat()}
        if not fact.answer:
            row |= {"state": "skipped", "reason_code": fact.refusal_code, "reason": fact.refusal_text, "finished_at": now}
        rows.append(row)
    insert_ignore(session, Delivery, rows)  # in the order of tickets, for every worker alike
    _report_skipped(session, [str(row["key"]) for row in rows if row["state"] == "skipped"], now)


def on_ticket_assigned(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """The assignment notice to the new owner."""
    assigned = [fact for fact in batch if isinstance(fact, TicketAssigned)]
    staff = {row.id: row for row in session.execute(_staff({fact.staff_id for fact in assigned})).all()}
    tickets = {row.id: row for row in session.execute(_tickets({fact.ticket_id for fact in assigned})).all()}
    rows = []
    for fact in sorted(assigned, key=lambda fact: fact.activity_id):  # the same order for every worker
        ticket, person = tickets[fact.ticket_id], staff[fact.staff_id]
        row = make_row(f"{ASSIGNED}:{fact.activity_id}", ASSIGNED, fact.ticket_id, person.email, False, now)
        source = str(ticket.source).replace("_", " ")
        row["context"] = {"source": source, "company_name": ticket.company or "", "reason": fact.reason}
        rows.append(row)
    insert_ignore(session, Delivery, rows)


def on_task_raised(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """The reminder to an owner, the escalation to a manager. A task that nobody could get is seen on the ticket only."""
    raised = [fact for fact in batch if isinstance(fact, TaskRaised) and fact.staff_id is not None]
    staff = {row.id: row for row in session.execute(_staff({fact.staff_id or 0 for fact in raised})).all()}
    tickets = {row.id: row for row in session.execute(_tickets({fact.ticket_id for fact in raised})).all()}
    rows = []
    for fact in sorted(raised, key=lambda fact: fact.task_id):
        ticket, mailing = tickets[fact.ticket_id], TASK_MAILINGS[fact.rule]
        row = make_row(f"{mailing}:{fact.task_id}", mailing, fact.ticket_id, staff[fact.staff_id or 0].email, False, now)
        names = {"company_name": ticket.company or "", "owner_name": ticket.owner or ""}
        row["context"] = {**names, "opened_at": ticket.opened_at.isoformat()}
        rows.append(row)
    insert_ignore(session, Delivery, rows)


def on_survey_due(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """The invitation to a survey. It is sent once: an ambiguous one is never repeated (reliability.md, promise 3)."""
    due = sorted((fact for fact in batch if isinstance(fact, SurveyDue)), key=lambda fact: fact.survey_id)
    found = select(Contact.id, Contact.email).where(Contact.id.in_([fact.contact_id for fact in due]))
    emails = {row.id: row.email for row in session.execute(found)}
    rows = []
    for fact in due:
        row = make_row(f"{INVITATION}:{fact.survey_id}", INVITATION, fact.ticket_id, emails.get(fact.contact_id), True, now)
        rows.append(row | {"context": {"survey_id": fact.survey_id}})
    insert_ignore(session, Delivery, rows)


def on_survey_answered(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """The score to whoever owned the ticket at its completion. What the customer wrote stays on the ticket."""
    answered = sorted((fact for fact in batch if isinstance(fact, SurveyAnswered)), key=lambda fact: fact.activity_id)
    staff = {row.id: row for row in session.execute(_staff({fact.staff_id for fact in answered})).all()}
    tickets = {row.id: row for row in session.execute(_tickets({fact.ticket_id for fact in answered})).all()}
    rows = []
    for fact in answered:
        email, company = staff[fact.staff_id].email, tickets[fact.ticket_id].company
        row = make_row(f"{ANSWERED}:{fact.activity_id}", ANSWERED, fact.ticket_id, email, False, now)
        given = {"score": fact.score, "before": fact.before or 0, "is_low": fact.is_low, "has_comment": fact.has_comment}
        rows.append(row | {"context": {**given, "company_name": company or ""}})
    insert_ignore(session, Delivery, rows)


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Any final outcome of a creation notice moves its ticket on."""
    outcomes = [
        NoticeOutcome(fact.ticket_id, fact.outcome, Reason(fact.code, fact.text), fact.recipient)
        for fact in batch
        if isinstance(fact, NoticeSettled) and fact.mailing == CREATED and fact.ticket_id is not None
    ]
    creation_notice.settle_creation_notices(session, outcomes, now)


def make_row(key: str, mailing: str, ticket_id: int, email: str | None, outside: bool, now: datetime) -> dict[str, Any]:
    """A delivery that is due now, without a context."""
    return {
        "key": key,
        "mailing": mailing,
        "ticket_id": ticket_id,
        "recipient": email or "",
        "domain": (email or "").rpartition("@")[2],
        "outside": outside,
        "context": {},
        "state": "pending",
        "reason_code": None,
        "reason": None,
        "finished_at": None,
        "due_at": now,
        "created_at": now,
    }


def _report_skipped(session: Session, keys: Sequence[str], now: datetime) -> None:
    if not keys:
        return
    rows = session.execute(select(Delivery).where(among(Delivery.key, keys), Delivery.state == "skipped")).scalars()
    told = [fact for row in rows for fact in settled(row, "skipped", Reason(row.reason_code or "", row.reason or ""))]
    append_facts(session, told, now)


def settled(delivery: Any, outcome: str, reason: Reason) -> list[NoticeSettled]:
    """The fact that ``delivery`` (a row or anything with its columns) has its final outcome; none where nobody reads it."""
    if delivery.mailing in UNHEARD:
        return []
    told = delivery.ticket_id, delivery.id, delivery.mailing, outcome, reason.code, reason.text, delivery.recipient
    return [NoticeSettled(*told)]


def _staff(ids: Iterable[int]) -> Any:
    return select(Staff.id, Staff.email).where(among(Staff.id, list(ids)))


def _tickets(ids: Iterable[int]) -> Any:
    statement = select(Ticket.id, Ticket.source, Ticket.opened_at, Company.name.label("company"), Staff.name.label("owner"))
    joined = statement.outerjoin(Company, Company.id == Ticket.company_id).outerjoin(Staff, Staff.id == Ticket.owner_id)
    return joined.where(among(Ticket.id, list(ids)))
