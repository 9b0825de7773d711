"""The contacts of a batch of submissions: found by address, or inserted."""

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
    session: Session, directory: SenderDirectory, senders: Sequence[SenderIdentity], public: frozenset[str], now: datetime
) -> dict[int, ContactView]:
    """Insert the contacts that are new and add those with an address to ``directory``. ``public`` domains name no company.

    Returns the contacts without an address, by their position in ``senders``: a name or a telephone number is enough to make a
    contact, but not to recognise the same person again.
    """
    missing: dict[str, SenderIdentity] = {}
    for sender in senders:
        if sender.email and sender.email not in directory.contacts:
            missing.setdefault(sender.email, sender)
    # In the order of addresses: two batches that insert the same new contacts would deadlock otherwise.
    rows = [_contact_row(directory, missing[email], public, now) for email in sorted(missing)]
    insert_ignore(session, Contact, rows)
    if missing:
        matching.load_contacts(session, directory, set(missing))
    return _insert_without_address(session, directory, senders, public, now)


def _insert_without_address(
    session: Session, directory: SenderDirectory, senders: Sequence[SenderIdentity], public: frozenset[str], now: datetime
) -> dict[int, ContactView]:
    positions = [position for position, sender in enumerate(senders) if not sender.email and (sender.name or sender.phone)]
    if not positions:
        return {}
    rows = [_contact_row(directory, senders[position], public, now) for position in positions]
    statement = insert(Contact).returning(Contact.id, sort_by_parameter_order=True)
    ids = session.execute(statement, rows).scalars().all()
    return {
        position: ContactView(contact_id, None, row["name"], row["company_id"])
        for position, contact_id, row in zip(positions, ids, rows, strict=True)
    }


def _contact_row(directory: SenderDirectory, sender: SenderIdentity, public: frozenset[str], now: datetime) -> dict[str, Any]:
    return {
        "email": sender.email,
        "name": sender.name,
        "phone": sender.phone,
        "company_id": _find_company_id(directory, sender, public),
        "created_at": now,
    }


def _find_company_id(directory: SenderDirectory, sender: SenderIdentity, public: frozenset[str]) -> int | None:
    """The company to record for a new contact: not what a public form says, which any visitor can fill in."""
    company, reason = directory.find_company(sender, public)
    if company is None or not (sender.trusted or reason.code == "company_by_domain"):
        return None
    if sender.email:
        directory.recorded[sender.email] = reason
    return company.id
