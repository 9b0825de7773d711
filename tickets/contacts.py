"""Contacts that a batch brings: found by address, or made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from accounts import matching
from accounts.matching import ContactView, SenderDirectory, SenderIdentity
from accounts.models import Contact
from core.database.bulk import insert_ignore


def ensure(
    session: Session, directory: SenderDirectory, claims: Sequence[SenderIdentity], public: frozenset[str], now: datetime
) -> dict[int, ContactView]:
    """Make the contacts that are new; those with an address are added to ``directory``. ``public`` mail domains name no company.

    Answers with the contacts that have none, by the number of their claim: a name or a telephone number is enough to be
    somebody, but not to be recognised again.
    """
    missing: dict[str, SenderIdentity] = {}
    for claim in claims:
        if claim.email and claim.email not in directory.contacts:
            missing.setdefault(claim.email, claim)
    rows = [_row(directory, missing[email], public, now) for email in sorted(missing)]
    insert_ignore(session, Contact, rows)
    if missing:
        matching.load_contacts(session, directory, set(missing))
    return _without_address(session, directory, claims, public, now)


def _without_address(
    session: Session, directory: SenderDirectory, claims: Sequence[SenderIdentity], public: frozenset[str], now: datetime
) -> dict[int, ContactView]:
    numbers = [number for number, claim in enumerate(claims) if not claim.email and (claim.name or claim.phone)]
    if not numbers:
        return {}
    rows = [_row(directory, claims[number], public, now) for number in numbers]
    statement = insert(Contact).returning(Contact.id, sort_by_parameter_order=True)
    ids = session.execute(statement, rows).scalars().all()
    return {
        number: ContactView(contact_id, None, row["name"], row["company_id"])
        for number, contact_id, row in zip(numbers, ids, rows, strict=True)
    }


def _row(directory: SenderDirectory, claim: SenderIdentity, public: frozenset[str], now: datetime) -> dict[str, Any]:
    return {
        "email": claim.email,
        "name": claim.name,
        "phone": claim.phone,
        "company_id": _on_record(directory, claim, public),
        "created_at": now,
    }


def _on_record(directory: SenderDirectory, claim: SenderIdentity, public: frozenset[str]) -> int | None:
    """The company a new contact is recorded with: never on the word of a form anybody can fill in."""
    company, reason = directory.find_company(claim, public)
    if company is None or not (claim.trusted or reason.code == "company_by_domain"):
        return None
    if claim.email:
        directory.recorded[claim.email] = reason
    return company.id
