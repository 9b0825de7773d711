"""Fact subscribers that create deliveries: which fact sends which mailing to whom.

They only write rows; the delivery worker renders and sends them later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Company, Contact, Staff
from core.database.bulk import insert_ignore
from core.database.in_lists import in_list
from core.reasons import Reason
from notify.mailing_types import (
    ASSIGNED,
    CREATED,
    SURVEY_ANSWERED,
    SURVEY_INVITATION,
    Audience,
    find_mailing_type,
    mailing_for_task,
    make_outcome_facts,
)
from notify.models import Delivery
from outbox.append import append_facts
from outbox.facts import Fact, NoticeSettled, SurveyAnswered, SurveyDue, TaskRaised, TicketAssigned, TicketCreated
from tickets import creation_notice
from tickets.creation_notice import NoticeOutcome
from tickets.models import Ticket


def on_ticket_created(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create the creation notice to the requester, or the skipped delivery that records why there is none."""
    created = {fact.ticket_id: fact for fact in batch if isinstance(fact, TicketCreated)}
    statement = select(Ticket.id, Ticket.created_at, Contact.email).outerjoin(Contact, Contact.id == Ticket.requester_id)
    rows = []
    # In the order of tickets, for every worker alike: two workers with the same facts then lock in the same order.
    for ticket_id, created_at, email in session.execute(statement.where(in_list(Ticket.id, created)).order_by(Ticket.id)):
        fact = created[ticket_id]
        row = build_delivery_row(f"{CREATED}:{ticket_id}", CREATED, ticket_id, email, now)
        row["context"] = {"received_at": created_at.isoformat()}
        if not fact.answer:
            row |= {"state": "skipped", "reason_code": fact.refusal_code, "reason": fact.refusal_text, "finished_at": now}
        rows.append(row)
    insert_ignore(session, Delivery, rows)
    _append_skipped(session, [str(row["key"]) for row in rows if row["state"] == "skipped"], now)


def on_ticket_assigned(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create the assignment notice to the new owner, one for each recorded assignment."""
    assigned = sorted((fact for fact in batch if isinstance(fact, TicketAssigned)), key=lambda fact: fact.activity_id)
    staff = {row.id: row for row in session.execute(_select_staff({fact.staff_id for fact in assigned})).all()}
    tickets = {row.id: row for row in session.execute(_select_tickets({fact.ticket_id for fact in assigned})).all()}
    rows = []
    for fact in assigned:
        ticket, person = tickets[fact.ticket_id], staff[fact.staff_id]
        row = build_delivery_row(f"{ASSIGNED}:{fact.activity_id}", ASSIGNED, fact.ticket_id, person.email, now)
        source = str(ticket.source).replace("_", " ")
        row["context"] = {"source": source, "company_name": ticket.company or "", "reason": fact.reason}
        rows.append(row)
    insert_ignore(session, Delivery, rows)


def on_task_raised(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create the reminder to an owner or the escalation to a manager. A task without an assignee sends no mail."""
    raised = [fact for fact in batch if isinstance(fact, TaskRaised) and fact.staff_id is not None]
    staff = {row.id: row for row in session.execute(_select_staff({fact.staff_id or 0 for fact in raised})).all()}
    tickets = {row.id: row for row in session.execute(_select_tickets({fact.ticket_id for fact in raised})).all()}
    rows = []
    for fact in sorted(raised, key=lambda fact: fact.task_id):
        ticket, mailing = tickets[fact.ticket_id], mailing_for_task(fact.rule)
        row = build_delivery_row(f"{mailing}:{fact.task_id}", mailing, fact.ticket_id, staff[fact.staff_id or 0].email, now)
        names = {"company_name": ticket.company or "", "owner_name": ticket.owner or ""}
        row["context"] = {**names, "opened_at": ticket.opened_at.isoformat()}
        rows.append(row)
    insert_ignore(session, Delivery, rows)


def on_survey_due(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create the survey invitation to the contact."""
    due = sorted((fact for fact in batch if isinstance(fact, SurveyDue)), key=lambda fact: fact.survey_id)
    contacts = select(Contact.id, Contact.email).where(Contact.id.in_([fact.contact_id for fact in due]))
    emails = {row.id: row.email for row in session.execute(contacts)}
    rows = []
    for fact in due:
        key, email = f"{SURVEY_INVITATION}:{fact.survey_id}", emails.get(fact.contact_id)
        row = build_delivery_row(key, SURVEY_INVITATION, fact.ticket_id, email, now)
        rows.append(row | {"context": {"survey_id": fact.survey_id}})
    insert_ignore(session, Delivery, rows)


def on_survey_answered(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create the notice of a survey score to the owner at completion. The customer's comment stays on the ticket."""
    answered = sorted((fact for fact in batch if isinstance(fact, SurveyAnswered)), key=lambda fact: fact.activity_id)
    staff = {row.id: row for row in session.execute(_select_staff({fact.staff_id for fact in answered})).all()}
    tickets = {row.id: row for row in session.execute(_select_tickets({fact.ticket_id for fact in answered})).all()}
    rows = []
    for fact in answered:
        email, company = staff[fact.staff_id].email, tickets[fact.ticket_id].company
        row = build_delivery_row(f"{SURVEY_ANSWERED}:{fact.activity_id}", SURVEY_ANSWERED, fact.ticket_id, email, now)
        answer = {"score": fact.score, "before": fact.before or 0, "is_low": fact.is_low, "has_comment": fact.has_comment}
        rows.append(row | {"context": {**answer, "company_name": company or ""}})
    insert_ignore(session, Delivery, rows)


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Pass the final outcome of creation notices to their tickets, which then leave 1-Submitted."""
    outcomes = [
        NoticeOutcome(fact.ticket_id, fact.outcome, Reason(fact.code, fact.text), fact.recipient)
        for fact in batch
        if isinstance(fact, NoticeSettled) and fact.mailing == CREATED and fact.ticket_id is not None
    ]
    creation_notice.settle_creation_notices(session, outcomes, now)


def build_delivery_row(key: str, mailing: str, ticket_id: int | None, email: str | None, now: datetime) -> dict[str, Any]:
    """Return the row of a delivery that is due ``now``, without a context.

    ``key`` is unique: it makes sure that the same fact, read twice, sends one mail.
    """
    return {
        "key": key,
        "mailing": mailing,
        "ticket_id": ticket_id,
        "recipient": email or "",
        "domain": (email or "").rpartition("@")[2],
        "outside": find_mailing_type(mailing).audience is Audience.CUSTOMER,
        "context": {},
        "state": "pending",
        "reason_code": None,
        "reason": None,
        "finished_at": None,
        "due_at": now,
        "created_at": now,
    }


def _append_skipped(session: Session, keys: Sequence[str], now: datetime) -> None:
    if not keys:
        return
    # Read back: a key that existed before keeps its earlier state, and only what is skipped in the table is reported.
    rows = session.execute(select(Delivery).where(in_list(Delivery.key, keys), Delivery.state == "skipped")).scalars()
    facts = [fact for row in rows for fact in make_outcome_facts(row, "skipped", Reason(row.reason_code or "", row.reason or ""))]
    append_facts(session, facts, now)


def _select_staff(ids: Iterable[int]) -> Any:
    return select(Staff.id, Staff.email).where(in_list(Staff.id, list(ids)))


def _select_tickets(ids: Iterable[int]) -> Any:
    statement = select(Ticket.id, Ticket.source, Ticket.opened_at, Company.name.label("company"), Staff.name.label("owner"))
    joined = statement.outerjoin(Company, Company.id == Ticket.company_id).outerjoin(Staff, Staff.id == Ticket.owner_id)
    return joined.where(in_list(Ticket.id, list(ids)))
