"""The slot: at most one survey to a customer in so many rolling days, decided by an UPDATE that must touch one row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from accounts.models import Company, Contact
from core.settings.sections import Surveys
from surveys.models import Survey

CONTACT, COMPANY = "contact", "company"
_OF: dict[str, type[Contact] | type[Company]] = {CONTACT: Contact, COMPANY: Company}


@dataclass(frozen=True, slots=True)
class Slot:
    """Whose slot it is: a contact's or a company's."""

    kind: str
    id: int


def slot_of(contact_id: int, company_id: int | None, settings: Surveys) -> Slot:
    """The slot that the setting names; who belongs to no company has their own. Pure."""
    if settings.throttle == COMPANY and company_id is not None:
        return Slot(COMPANY, company_id)
    return Slot(CONTACT, contact_id)


def reserve(session: Session, slot: Slot, settings: Surveys, now: datetime) -> bool:
    """Take the slot if it is free. Of several that try at once one gets it: the others wait for its row, and see it taken."""
    table: Any = _OF[slot.kind]
    free = or_(table.last_surveyed_at.is_(None), table.last_surveyed_at <= now - timedelta(days=settings.days))
    return _touches_one(session, update(table).where(table.id == slot.id, free).values(last_surveyed_at=now))


def move(session: Session, survey: Survey, now: datetime) -> None:
    """The span counts from when the mail went, not from the completion: whoever holds the slot sets it anew."""
    if _touches_one(session, _held(survey).values(last_surveyed_at=now)):
        survey.slot_at = now


def release(session: Session, survey: Survey) -> None:
    """Give the slot back: it then says when the last survey really went, as if this one had never been."""
    if survey.slot is None:
        return
    mine = Survey.contact_id == survey.contact_id if survey.slot == CONTACT else Survey.company_id == survey.company_id
    last = select(func.max(Survey.sent_at)).where(mine, Survey.slot == survey.slot, Survey.id != survey.id)
    _touches_one(session, _held(survey).values(last_surveyed_at=last.scalar_subquery()))
    survey.slot = survey.slot_at = None


def _held(survey: Survey) -> Any:
    table: Any = _OF[survey.slot or CONTACT]
    owner = survey.company_id if survey.slot == COMPANY else survey.contact_id
    return update(table).where(table.id == owner, table.last_surveyed_at == survey.slot_at)


def _touches_one(session: Session, statement: Any) -> bool:
    result: Any = session.execute(statement.execution_options(synchronize_session=False))
    return bool(result.rowcount == 1)
