"""A ticket entered by hand, after a call or by a program: what was given is checked and becomes a submission."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from accounts.directory import find_person
from accounts.field_parsers import read_email
from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from tickets import creation_notice
from tickets.submission import Submission, SubmittedFile, TicketSource

CONTACT_METHODS = ("email", "phone")


@dataclass(frozen=True, slots=True)
class ManualEntry:
    """The fields of the form (domain.md, Tickets), empty where nothing was given."""

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


def to_submission(entered: ManualEntry, now: datetime) -> Submission:
    """The form as a submission. Raises :class:`RefusedError` for what cannot be, before any database is asked."""
    if not entered.owner.strip():
        raise RefusedError("no_owner", "a ticket entered by hand needs an owner", hint="give the owner's email address")
    if not entered.description.strip():
        raise RefusedError("no_description", "the ticket does not say what it is about", hint="give a description")
    if not (entered.email or entered.name or entered.phone).strip():
        raise RefusedError("no_requester", "nobody is named whom it is for", hint="give an email, a name or a phone")
    if entered.prefers not in CONTACT_METHODS:
        raise RefusedError("bad_way", f"{entered.prefers!r} is no way to reach people", hint="say email or phone")
    return Submission(
        source=TicketSource.PHONE,
        received_at=now,
        subject="",
        text=entered.description.strip(),
        email=read_email("email", entered.email) if entered.email.strip() else None,
        name=entered.name.strip(),
        phone=entered.phone.strip(),
        company=entered.company.strip(),
        category=entered.category,
        issue=entered.issue,
        issue_detail=entered.detail,
        preferred_contact=entered.prefers,
        files=entered.files,
        missing=_missing(entered),
        reasons=(Reason("entered_by_hand", "A member of staff entered it by hand"),),
        owner_email=read_email("owner", entered.owner),
        contacts=tuple(read_email("contact", email) for email in entered.contacts),
        on_company_timeline=entered.on_company_timeline,
        on_contact_timeline=entered.on_contact_timeline,
    )


def create(session: Session, submission: Submission, settings: Settings, now: datetime) -> int:
    """The ticket of a submission entered by hand; its id. Raises unless its owner is active on the staff."""
    email = submission.owner_email or ""
    if not find_person(session, email).active:
        raise RefusedError("owner_inactive", f"{email} is not active any more", hint="see `casemill staff list`")
    return creation_notice.create_by_hand(session, submission, settings, now)


def _missing(entered: ManualEntry) -> tuple[str, ...]:
    wanted = (
        ("email", "the requester's email address"),
        ("name", "the requester's name"),
        ("phone", "the requester's telephone number"),
        ("category", "the category"),
    )
    return tuple(text for field, text in wanted if not getattr(entered, field).strip())
