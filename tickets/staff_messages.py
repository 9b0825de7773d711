"""Staff messages: what staff write to the customer from a ticket, composed from a template, edited, checked, sent.

A staff message is an entry on the timeline and a fact; ``notify`` makes and sends the mail that carries it. The outcome of that
mail comes back here: a recap that the mail server accepted checks its box, a message that did not arrive becomes a task for the
owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Company, Contact, Staff
from core.errors import RefusedError
from core.reasons import Reason
from outbox.append import append_facts
from outbox.facts import StaffMessageWritten
from tickets import follow_ups, lifecycle, message_templates, permissions, template_sandbox
from tickets.message_templates import ASK_FOR_MORE, RECAP, TemplateVersion
from tickets.models import Activity, Ticket, TicketContact
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.stages import COMPLETED
from tickets.timeline import add_entry, lock_ticket, record_entry

REPLY, RECAP_MESSAGE, QUESTION = "reply", "recap", "question"
#: The template each kind of message begins with; a reply begins empty.
TEMPLATES: Final = {RECAP_MESSAGE: RECAP, QUESTION: ASK_FOR_MORE}
TITLES: Final = {REPLY: "Reply", RECAP_MESSAGE: "Recap of resolution", QUESTION: "Request for information"}
MAX_SUBJECT_CHARACTERS: Final = 300
MAX_TEXT_CHARACTERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message before it is sent; ``problems`` are sentences that say what keeps it from being sent as it is."""

    ticket_id: int
    kind: str
    subject: str
    text: str
    to: tuple[str, ...]
    template: TemplateVersion | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """How the mail of a message ended: ``sent``, ``skipped``, ``failed`` or ``ambiguous``, and why."""

    delivery_id: int
    ticket_id: int
    activity_id: int
    outcome: str
    reason: Reason
    recipient: str


def compose(
    session: Session,
    ticket_id: int,
    by: Staff,
    kind: str = REPLY,
    *,
    template: str | None = None,
    values: Mapping[str, str] | None = None,
    to: Sequence[str] = (),
) -> MessageDraft:
    """Return a message of ``kind`` filled from the ticket; ``values`` fill single placeholders, such as ``resolution``.

    Without a template, and for a kind that has none, the text is empty. Raises :class:`NotFoundError` for an unknown ticket or
    template.
    """
    ticket = lock_ticket(session, ticket_id)
    name = template or TEMPLATES.get(kind)
    version = message_templates.find(session, name) if name else None
    if version is None:
        filled = template_sandbox.FilledTemplate(f"Re: {ticket.name}", "", ())
    else:
        filled = template_sandbox.fill(version.subject, version.body, {**_load_values(session, ticket, by), **(values or {})})
    recipients, problems = _find_recipients(session, ticket, to)
    emails = tuple(str(contact.email) for contact in recipients)
    problems += find_problems(filled.subject, filled.text)
    return MessageDraft(ticket.id, kind, filled.subject, filled.text, emails, version, tuple(problems))


def find_problems(subject: str, text: str) -> list[str]:
    """Return what a message still lacks, as sentences."""
    problems = [f"{{{{ {name} }}}} is not filled" for name in template_sandbox.find_unfilled(subject, text)]
    return problems if text.strip() else [*problems, "there is no text yet"]


def send(
    session: Session,
    ticket_id: int,
    by: Staff,
    kind: str,
    subject: str,
    text: str,
    now: datetime,
    *,
    to: Sequence[str] = (),
    template: TemplateVersion | None = None,
) -> int:
    """Send a message to the requester, or to those people of the ticket whom ``to`` names; return its entry's id.

    Raises :class:`RefusedError` for a placeholder that is not filled, a missing recipient, or a ticket that takes no message.
    """
    permissions.require(by, Action.WRITE)
    if kind not in TITLES:
        raise RefusedError("unknown_kind", f"a message is one of {', '.join(TITLES)}, not {kind!r}")
    ticket = lock_ticket(session, ticket_id)
    _refuse(ticket, kind, subject, text)
    recipients, problems = _find_recipients(session, ticket, to)
    if problems:
        raise RefusedError("no_recipient", "; ".join(problems), hint="name people of the ticket who have an email address")
    clean_subject, clean_text = " ".join(subject.split()), text.strip() + "\n"
    data: dict[str, Any] = {"by": by.email, "letter": kind, "to": [one.email for one in recipients], "opening": ticket.opening}
    if template is not None:
        data["template"] = {"folder": template.folder, "name": template.name, "version": template.number}
    ticket.human_at = now
    activity_id = add_entry(session, ticket, now, by.email, "message_out", clean_subject, clean_text, data)
    written = StaffMessageWritten(ticket.id, activity_id, kind, [contact.id for contact in recipients])
    append_facts(session, [written], now)
    return activity_id


def record_outcomes(session: Session, outcomes: Sequence[MessageOutcome], now: datetime) -> None:
    """Record the outcomes of mails, in the order of tickets, as other workers lock them.

    A recap that reached the requester checks its box. A message that did not arrive raises a task for the owner.
    """
    for outcome in sorted(outcomes, key=lambda one: (one.ticket_id, one.delivery_id)):
        entry = session.get(Activity, outcome.activity_id)
        if entry is None or not _record_outcome(session, outcome, str(entry.data.get("letter")), now):
            continue
        if outcome.outcome == "sent" and entry.data.get("letter") == RECAP_MESSAGE and _is_main_copy(session, outcome, entry):
            lifecycle.mark_recap_accepted(session, outcome.ticket_id, int(entry.data.get("opening", 0)), now)


def _is_main_copy(session: Session, outcome: MessageOutcome, entry: Activity) -> bool:
    """Whether this copy of a recap counts as the recap: the requester's, or without them that of the first recipient."""
    to = [str(address) for address in entry.data.get("to", [])]
    of_ticket = select(Ticket.requester_id).where(Ticket.id == outcome.ticket_id).scalar_subquery()
    requester = session.execute(select(Contact.email).where(Contact.id == of_ticket)).scalar()
    return outcome.recipient == (requester if requester in to else next(iter(to), outcome.recipient))


def _refuse(ticket: Ticket, kind: str, subject: str, text: str) -> None:
    if ticket.merged_into is not None:
        merged = f"{format_number(ticket.id)} was merged into {format_number(ticket.merged_into)}"
        raise RefusedError("merged", merged, hint="write from that one")
    if kind == RECAP_MESSAGE and ticket.stage == COMPLETED:
        raise RefusedError("completed", f"{format_number(ticket.id)} is completed", hint="reopen it first, or send a reply")
    if not subject.strip() or not text.strip():
        raise RefusedError("empty", "a message needs a subject and a text")
    if len(subject) > MAX_SUBJECT_CHARACTERS or len(text) > MAX_TEXT_CHARACTERS:
        limits = f"{MAX_SUBJECT_CHARACTERS} characters of subject and {MAX_TEXT_CHARACTERS} of text"
        raise RefusedError("too_long", f"a message has at most {limits}", hint="shorten it")
    unfilled = template_sandbox.find_unfilled(subject, text)
    if unfilled:
        names = ", ".join(f"{{{{ {name} }}}}" for name in unfilled)
        raise RefusedError("unfilled", f"not filled yet: {names}", hint="write what belongs there, or delete the placeholder")


def _find_recipients(session: Session, ticket: Ticket, to: Sequence[str]) -> tuple[list[Contact], list[str]]:
    """The requester, or those of the ticket's people whom ``to`` names; and the problems with them, as sentences."""
    of_ticket = select(TicketContact.contact_id).where(TicketContact.ticket_id == ticket.id)
    people = list(session.execute(select(Contact).where(Contact.id.in_(of_ticket)).order_by(Contact.id)).scalars())
    if not to:
        requester = [one for one in people if one.id == ticket.requester_id and one.email]
        return requester, [] if requester else ["the requester has no email address"]
    known = {one.email: one for one in people if one.email}
    wanted = list(dict.fromkeys(address.strip().lower() for address in to))
    problems = [f"{address} does not belong to {format_number(ticket.id)}" for address in wanted if address not in known]
    return [known[address] for address in wanted if address in known], problems


def _load_values(session: Session, ticket: Ticket, by: Staff) -> dict[str, Mapping[str, str] | str]:
    contact = session.get(Contact, ticket.requester_id) if ticket.requester_id else None
    company = session.get(Company, ticket.company_id) if ticket.company_id else None
    owner = session.get(Staff, ticket.owner_id) if ticket.owner_id else None
    return {
        "ticket": {
            "number": format_number(ticket.id),
            "name": ticket.name,
            "category": ticket.category,
            "issue": ticket.issue,
            "opened": f"{ticket.opened_at:%B} {ticket.opened_at.day}, {ticket.opened_at.year}",
        },
        "contact": {"name": contact.name, "email": contact.email or "", "phone": contact.phone} if contact else {},
        "company": {"name": company.name} if company else {},
        "owner": {"name": owner.name, "email": owner.email} if owner else {},
        "writer": {"name": by.name, "email": by.email},
        "missing": "\n".join(f"- {one}" for one in ticket.missing),
    }


def _record_outcome(session: Session, outcome: MessageOutcome, kind: str, now: datetime) -> bool:
    """Add an entry with the outcome of a mail; False when that was recorded before."""
    what = TITLES.get(kind, "Message")
    title = {
        "sent": f"{what} sent to {outcome.recipient}",
        "skipped": f"{what} not sent to {outcome.recipient}",
        "failed": f"{what} did not reach {outcome.recipient}",
        "ambiguous": f"{what} may not have reached {outcome.recipient}",
    }[outcome.outcome]
    if outcome.outcome != "sent" and not _raise_task(session, outcome, title, now):
        return False
    data = {"outcome": outcome.outcome, "recipient": outcome.recipient, "entry": outcome.activity_id}
    record_entry(session, outcome.ticket_id, "notice", title, now, body=outcome.reason.text, reason=outcome.reason, data=data)
    return True


def _raise_task(session: Session, outcome: MessageOutcome, title: str, now: datetime) -> bool:
    ticket = lock_ticket(session, outcome.ticket_id)
    key = f"letter:{outcome.delivery_id}"
    if follow_ups.find_raised_keys(session, [key]):
        return False
    row = follow_ups.task_row(
        key,
        ticket.id,
        follow_ups.NOTICE_PROBLEM,
        f"Call the customer or write again: {title[0].lower()}{title[1:]}",
        outcome.reason.text,
        now + follow_ups.PROBLEM_DUE_AFTER,
        now,
        assignee_id=ticket.owner_id or follow_ups.find_default_manager(session),
    )
    follow_ups.insert_tasks(session, [row])
    return True
