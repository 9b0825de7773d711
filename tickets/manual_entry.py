"""Enter a ticket by hand, after a call or by a program: check the fields and turn them into a submission."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from accounts.directory import find_person
from accounts.field_parsers import read_email
from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from tickets.intake import receive
from tickets.submission import Submission, SubmittedFile, TicketSource

CONTACT_METHODS = ("email", "phone")


@dataclass(frozen=True, slots=True)
class ManualEntry:
    """The fields of the form (domain.md, Tickets), each empty where the form has no value."""

    owner: str
    company: str
    email: str
    name: str
    phone: str
    description: str
    contacts: tuple[str, ...] = ()
    category: str = ""
    issue: str = ""
    detail: str = ""
    prefers: str = "email"
    files: tuple[SubmittedFile, ...] = ()
    on_company_timeline: bool = True
    on_contact_timeline: bool = True


def to_submission(entry: ManualEntry, now: datetime) -> Submission:
    """Return the form as a submission. Raises :class:`RefusedError` for a missing or invalid field; reads no database."""
    if not entry.owner.strip():
        raise RefusedError("no_owner", "a ticket entered by hand needs an owner", hint="give the owner's email address")
    if not entry.description.strip():
        raise RefusedError("no_description", "the ticket has no description", hint="say in a sentence what it is about")
    if not (entry.email or entry.name or entry.phone).strip():
        raise RefusedError("no_requester", "the ticket has no requester", hint="give an email address, a name or a phone number")
    if entry.prefers not in CONTACT_METHODS:
        raise RefusedError("bad_way", f"{entry.prefers!r} is not a contact method", hint="choose email or phone")
    return Submission(
        source=TicketSource.PHONE,
        received_at=now,
        subject="",
        text=entry.description.strip(),
        email=read_email("email", entry.email) if entry.email.strip() else None,
        name=entry.name.strip(),
        phone=entry.phone.strip(),
        company=entry.company.strip(),
        category=entry.category,
        issue=entry.issue,
        issue_detail=entry.detail,
        preferred_contact=entry.prefers,
        files=entry.files,
        missing=_missing(entry),
        reasons=(Reason("entered_by_hand", "A member of staff entered it by hand"),),
        owner_email=read_email("owner", entry.owner),
        contacts=tuple(read_email("contact", email) for email in entry.contacts),
        on_company_timeline=entry.on_company_timeline,
        on_contact_timeline=entry.on_contact_timeline,
    )


def create(session: Session, submission: Submission, settings: Settings, now: datetime) -> int:
    """Create the ticket of a submission entered by hand and return its id.

    Raises :class:`RefusedError` when its owner is inactive, :class:`NotFoundError` when there is no such member of staff.
    """
    email = submission.owner_email or ""
    if not find_person(session, email).active:
        raise RefusedError("owner_inactive", f"{email} is no longer active", hint="choose an owner from `casemill staff list`")
    return create_by_hand(session, submission, settings, now)


def create_by_hand(session: Session, submission: Submission, settings: Settings, now: datetime) -> int:
    """Create the ticket of one submission, whose owner the caller has checked, and return its id."""
    return receive(session, [submission], settings, now)[0].ticket_id


def _missing(entry: ManualEntry) -> tuple[str, ...]:
    wanted = (
        ("email", "the requester's email address"),
        ("name", "the requester's name"),
        ("phone", "the requester's telephone number"),
        ("category", "the category"),
    )
    return tuple(text for field, text in wanted if not getattr(entry, field).strip())
