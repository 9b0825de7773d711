"""The throttle: at most one survey for each customer in a rolling period.

The column ``last_surveyed_at`` of a contact or company is the customer's slot. An UPDATE that must change one row reserves it,
so that two workers never reserve the same slot.
"""

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
_TABLES: dict[str, type[Contact] | type[Company]] = {CONTACT: Contact, COMPANY: Company}


@dataclass(frozen=True, slots=True)
class ThrottleSlot:
    """The slot of a contact or of a company."""

    kind: str
    id: int


def choose_slot(contact_id: int, company_id: int | None, settings: Surveys) -> ThrottleSlot:
    """Return the slot that the setting ``throttle`` names; a contact without a company has their own. Pure."""
    if settings.throttle == COMPANY and company_id is not None:
        return ThrottleSlot(COMPANY, company_id)
    return ThrottleSlot(CONTACT, contact_id)


def reserve(session: Session, slot: ThrottleSlot, settings: Surveys, now: datetime) -> bool:
    """Reserve the slot if it is free; returns whether it was.

    Of several workers at once one succeeds: the others wait for the row lock and then find the slot reserved.
    """
    table: Any = _TABLES[slot.kind]
    free = or_(table.last_surveyed_at.is_(None), table.last_surveyed_at <= now - timedelta(days=settings.days))
    return _changes_one_row(session, update(table).where(table.id == slot.id, free).values(last_surveyed_at=now))


def restart(session: Session, survey: Survey, now: datetime) -> None:
    """Start the period again at ``now``, if this survey still holds the slot: it counts from the mail, not the completion."""
    if _changes_one_row(session, _update_if_held(survey).values(last_surveyed_at=now)):
        survey.slot_at = now


def release(session: Session, survey: Survey) -> None:
    """Release the slot: ``last_surveyed_at`` becomes the time of the last survey that was sent."""
    if survey.slot is None:
        return
    mine = Survey.contact_id == survey.contact_id if survey.slot == CONTACT else Survey.company_id == survey.company_id
    last = select(func.max(Survey.sent_at)).where(mine, Survey.slot == survey.slot, Survey.id != survey.id)
    _changes_one_row(session, _update_if_held(survey).values(last_surveyed_at=last.scalar_subquery()))
    survey.slot = survey.slot_at = None


def _update_if_held(survey: Survey) -> Any:
    table: Any = _TABLES[survey.slot or CONTACT]
    owner = survey.company_id if survey.slot == COMPANY else survey.contact_id
    return update(table).where(table.id == owner, table.last_surveyed_at == survey.slot_at)


def _changes_one_row(session: Session, statement: Any) -> bool:
    result: Any = session.execute(statement.execution_options(synchronize_session=False))
    return bool(result.rowcount == 1)
