"""A ticket entered by hand: asking for what was not given, and checking what was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from core.errors import RefusedError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tickets.submission import Submission, SubmittedFile

WAYS = ("email", "phone")


@dataclass(frozen=True, slots=True)
class Entered:
    """The fields of the form (domain.md, Tickets), empty where nothing was given."""

    owner: str
    company: str
    email: str
    name: str
    phone: str
    description: str
    contacts: tuple[str, ...]
    category: str
    issue: str
    detail: str
    prefers: str
    files: tuple[Path, ...]
    on_company_timeline: bool
    on_contact_timeline: bool


def complete(entered: Entered) -> Entered:
    """Ask on the terminal for the main fields that are empty."""
    questions = {
        "owner": "Your email address",
        "company": "Company",
        "name": "Who is calling",
        "email": "Their email address",
        "phone": "Their telephone number",
        "description": "What is it about",
    }
    answers = {
        field: typer.prompt(question, default="", show_default=False)
        for field, question in questions.items()
        if not getattr(entered, field)
    }
    return replace(entered, **answers)


def to_submission(entered: Entered) -> Submission:
    """The form as a submission. Raises :class:`RefusedError` for what cannot be, before any database is asked."""
    from core import clock
    from core.reasons import Reason
    from tickets.submission import Source, Submission

    if not entered.owner.strip():
        raise RefusedError("no_owner", "a ticket entered by hand needs an owner", mend="give --owner with your email address")
    if not entered.description.strip():
        raise RefusedError("no_description", "the ticket does not say what it is about", mend="give --description")
    if not (entered.email or entered.name or entered.phone).strip():
        raise RefusedError("no_requester", "nobody is named whom it is for", mend="give --email, --name or --phone")
    if entered.prefers not in WAYS:
        raise RefusedError("bad_way", f"{entered.prefers!r} is no way to reach people", mend="give --prefers email or phone")
    return Submission(
        source=Source.PHONE,
        received_at=clock.now(),
        subject="",
        text=entered.description.strip(),
        email=_read_email("--email", entered.email) if entered.email.strip() else None,
        name=entered.name.strip(),
        phone=entered.phone.strip(),
        company=entered.company.strip(),
        category=entered.category,
        issue=entered.issue,
        issue_detail=entered.detail,
        preferred_contact=entered.prefers,
        files=tuple(_read_file(path) for path in entered.files),
        missing=_missing(entered),
        reasons=(Reason("entered_by_hand", "A member of staff entered it by hand"),),
        owner_email=_read_email("--owner", entered.owner),
        contacts=tuple(_read_email("--contact", email) for email in entered.contacts),
        on_company_timeline=entered.on_company_timeline,
        on_contact_timeline=entered.on_contact_timeline,
    )


def require_owner(session: Session, email: str) -> None:
    """Raise unless somebody active on the staff has the address."""
    from accounts.directory import find_person

    person = find_person(session, email)
    if not person.active:
        raise RefusedError("owner_inactive", f"{email} is not active any more", mend="see `casemill staff list`")


def _read_email(option: str, text: str) -> str:
    from accounts.values import read_email

    return read_email(option, text)


def _read_file(path: Path) -> SubmittedFile:
    import filetype

    from core import blobs
    from ingest.parsers.attachments import clean_name
    from tickets.submission import SubmittedFile

    content = path.read_bytes()
    kind = filetype.guess(content[:8192])
    sniffed = str(kind.mime) if kind is not None else None
    declared = sniffed or "application/octet-stream"
    return SubmittedFile(clean_name(path.name) or "file", declared, sniffed, len(content), blobs.digest(content), False, content)


def _missing(entered: Entered) -> tuple[str, ...]:
    wanted = (
        ("email", "the requester's email address"),
        ("name", "the requester's name"),
        ("phone", "the requester's telephone number"),
        ("category", "the category"),
    )
    return tuple(text for field, text in wanted if not getattr(entered, field).strip())
