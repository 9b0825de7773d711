"""Add and update staff, companies and contacts, and set absences.

Adding under a key that exists updates that record: staff and contacts by email address, companies by folded name. Fields that are
not given stay as they are. The caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from accounts import field_parsers
from accounts.field_parsers import RefusedValueError
from accounts.models import Absence, Company, Contact, Staff
from accounts.names import fold_name
from accounts.record_cache import RecordCache
from core import clock
from core.database.session import Database
from core.database.types import Base
from core.errors import NotFoundError

__all__ = [
    "SaveOutcome", "Saved", "add_company", "add_contact", "add_staff", "end_out_of_office", "find_person", "fold_name",
    "retry_on_conflict", "save_company", "save_contact", "save_staff", "set_out_of_office",
]  # fmt: skip

T = TypeVar("T")
R = TypeVar("R", bound=Base)
V = TypeVar("V")


class SaveOutcome(StrEnum):
    """What saving a record did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Saved(Generic[R]):
    """A record after saving, and what saving did."""

    record: R
    outcome: SaveOutcome


def retry_on_conflict(database: Database, unit: Callable[[Session], T]) -> T:
    """Run a transaction; once more when another process inserted the same UNIQUE key meanwhile."""
    try:
        return database.transaction(unit)
    except IntegrityError:
        return database.transaction(unit)


def add_staff(session: Session, *, email: str, **fields: Any) -> Saved[Staff]:
    """Add or update a member of staff; see :func:`save_staff` for the fields. Raises :class:`RefusedError`."""
    records = RecordCache(session)
    saved = save_staff(records, email=email, **fields)
    records.flush()
    return saved


def add_company(session: Session, *, name: str, **fields: Any) -> Saved[Company]:
    """Add or update a company; see :func:`save_company` for the fields. Raises :class:`RefusedError`."""
    records = RecordCache(session)
    saved = save_company(records, name=name, **fields)
    records.flush()
    return saved


def add_contact(session: Session, *, email: str, **fields: Any) -> Saved[Contact]:
    """Add or update a contact; see :func:`save_contact` for the fields. Raises :class:`RefusedError`."""
    records = RecordCache(session)
    saved = save_contact(records, email=email, **fields)
    records.flush()
    return saved


def save_staff(
    records: RecordCache,
    *,
    email: str,
    name: str | None = None,
    role: str | None = None,
    active: bool | str | None = None,
    capacity: int | str | None = None,
    skills: str | Iterable[str] | None = None,
    zone: str | None = None,
    weekdays: str | None = None,
    hours: str | None = None,
    stand_in: str | None = None,
    digest: bool | str | None = None,
) -> Saved[Staff]:
    """Add or update one member of staff; the caller flushes ``records``. A new one needs a name.

    ``hours`` as in ``08:00-17:00`` and ``weekdays`` as in ``Mon-Fri``, in ``zone``; ``stand_in`` is an email address.
    """
    address = field_parsers.read_email("email", email)
    changes: dict[str, Any] = {
        "name": _read("name", name, field_parsers.read_text),
        "role": _read("role", role, field_parsers.read_role),
        "active": _read("active", active, field_parsers.read_flag),
        "capacity": _read("capacity", capacity, field_parsers.read_capacity),
        "skills": _read("skills", skills, field_parsers.read_skills),
        "zone": _read("zone", zone, field_parsers.read_zone),
        "weekdays": _read("weekdays", weekdays, field_parsers.read_weekdays),
        "digest": _read("digest", digest, field_parsers.read_flag),
    }
    changes["starts"], changes["ends"] = _read("hours", hours, field_parsers.read_hours) or (None, None)
    changes["stand_in_id"] = _read_stand_in(records, address, stand_in)
    person = records.staff.get(address)
    if person is None:
        _require_name(changes)
        saved = _create(records, Staff(email=address, created_at=clock.now()), changes)
        records.staff.put(address, saved.record)
        return saved
    return _update(person, changes)


def _read_stand_in(records: RecordCache, address: str, stand_in: str | None) -> int | None:
    other = _read("stand_in", stand_in, field_parsers.read_email)
    if other is None:
        return None
    if other == address:
        raise RefusedValueError(
            "stand_in", "own_stand_in", "a person cannot stand in for themselves", hint="name another member of staff"
        )
    return records.id_of(records.find_staff("stand_in", other))


def save_company(
    records: RecordCache,
    *,
    name: str,
    domains: str | Iterable[str] | None = None,
    manager: str | None = None,
    consultant: str | None = None,
    telemedicine: bool | str | None = None,
    account_number: str | None = None,
    active: bool | str | None = None,
) -> Saved[Company]:
    """Add or update one company; the caller flushes ``records``. ``manager`` and ``consultant`` are email addresses of staff.

    ``domains``, when given, are all its email domains: they replace the stored ones.
    """
    title = field_parsers.read_text("name", name)
    folded = fold_name(title)
    if not folded:
        raise RefusedValueError("name", "missing_name", "a company needs a name", hint="give a name with letters or digits")
    company = records.companies.get(folded)
    changes: dict[str, Any] = {
        "name": title,
        "telemedicine": _read("telemedicine", telemedicine, field_parsers.read_flag),
        "account_number": _read("account_number", account_number, field_parsers.read_text),
        "active": _read("active", active, field_parsers.read_flag),
        "manager_id": _read_person(records, "manager", manager),
        "consultant_id": _read_person(records, "consultant", consultant),
    }
    wanted = _read("domains", domains, field_parsers.read_domains)
    _refuse_taken(records, company, changes["account_number"], wanted or frozenset())
    if company is None:
        saved = _create(records, Company(folded=folded, created_at=clock.now()), changes)
        records.companies.put(folded, saved.record)
    else:
        records.accounts.put(company.account_number or "", None if changes["account_number"] else company)
        saved = _update(company, changes)
    if saved.record.account_number:
        records.accounts.put(saved.record.account_number, saved.record)
    return _with_domains(records, saved, wanted)


def _with_domains(records: RecordCache, saved: Saved[Company], wanted: frozenset[str] | None) -> Saved[Company]:
    if wanted is None or wanted == records.domains_of(saved.record):
        return saved
    records.set_domains(saved.record, wanted)
    return saved if saved.outcome is SaveOutcome.CREATED else Saved(saved.record, SaveOutcome.UPDATED)


def _read_person(records: RecordCache, field: str, email: str | None) -> int | None:
    address = _read(field, email, field_parsers.read_email)
    return None if address is None else records.id_of(records.find_staff(field, address))


def _refuse_taken(records: RecordCache, company: Company | None, number: str | None, domains: frozenset[str]) -> None:
    """Refuse an account number or domain of another company: they identify a sender's company, so one company has each."""
    holder = records.accounts.get(number) if number else None
    if holder is not None and holder is not company:
        raise RefusedValueError(
            "account_number", "account_number_taken", f"account number {number} belongs to {holder.name}",
            hint="correct the number, or take it from the other company first",
        )  # fmt: skip
    records.domain_owners.fetch(sorted(domains))
    for domain in sorted(domains):
        owner = records.domain_owners.get(domain)
        if owner is not None and owner is not company:
            raise RefusedValueError(
                "domains", "domain_taken", f"{domain} belongs to {owner.name}",
                hint="leave it out, or take it from the other company first",
            )  # fmt: skip


def save_contact(
    records: RecordCache,
    *,
    email: str,
    name: str | None = None,
    phone: str | None = None,
    preferred_contact: str | None = None,
    company: str | None = None,
    is_admin: bool | str | None = None,
    active: bool | str | None = None,
) -> Saved[Contact]:
    """Add or update one contact; the caller flushes ``records``. ``company`` is a name, compared folded."""
    address = field_parsers.read_email("email", email)
    changes: dict[str, Any] = {
        "name": _read("name", name, field_parsers.read_text),
        "phone": _read("phone", phone, field_parsers.read_text),
        "preferred_contact": _read("preferred_contact", preferred_contact, field_parsers.read_preferred_contact),
        "company_id": _read_company(records, company),
        "is_admin": _read("is_admin", is_admin, field_parsers.read_flag),
        "active": _read("active", active, field_parsers.read_flag),
    }
    contact = records.contacts.get(address)
    if contact is None:
        saved = _create(records, Contact(email=address, created_at=clock.now()), changes)
        records.contacts.put(address, saved.record)
        return saved
    return _update(contact, changes)


def _read_company(records: RecordCache, name: str | None) -> int | None:
    title = _read("company", name, field_parsers.read_text)
    if not title:
        return None
    company = records.companies.get(fold_name(title))
    if company is None:
        raise RefusedValueError(
            "company", "unknown_company", f"there is no company {title!r}", hint="correct the name, or add the company first"
        )
    return records.id_of(company)


def set_out_of_office(
    session: Session, *, email: str, starts: datetime, ends: datetime, stand_in: str | None = None
) -> Saved[Absence]:
    """Record an absence from ``starts`` to ``ends`` (aware); it replaces the absences that overlap it."""
    if ends <= starts:
        raise RefusedValueError("ends", "odd_span", "the absence ends before it begins", hint="give a later end")
    person = find_person(session, email)
    if stand_in:
        add_staff(session, email=person.email, stand_in=stand_in)
    overlap = (Absence.staff_id == person.id, Absence.starts_at < ends, Absence.ends_at > starts)
    earlier = session.scalars(select(Absence).where(*overlap).order_by(Absence.id)).all()
    if len(earlier) == 1 and (earlier[0].starts_at, earlier[0].ends_at) == (starts, ends):
        return Saved(earlier[0], SaveOutcome.UNCHANGED)
    for absence in earlier:
        session.delete(absence)
    absence_row = Absence(staff_id=person.id, starts_at=starts, ends_at=ends)
    session.add(absence_row)
    session.flush()
    return Saved(absence_row, SaveOutcome.UPDATED if earlier else SaveOutcome.CREATED)


def end_out_of_office(session: Session, *, email: str, now: datetime) -> int:
    """End the current absence at ``now`` and delete later ones; return how many there were."""
    person = find_person(session, email)
    remaining = session.scalars(select(Absence).where(Absence.staff_id == person.id, Absence.ends_at > now)).all()
    for absence in remaining:
        if absence.starts_at < now:
            absence.ends_at = now
        else:
            session.delete(absence)
    session.flush()
    return len(remaining)


def find_person(session: Session, email: str) -> Staff:
    """Return the member of staff with this address. Raises :class:`NotFoundError`, or :class:`RefusedError` if it is none."""
    address = field_parsers.read_email("email", email)
    person = session.scalar(select(Staff).where(Staff.email == address))
    if person is None:
        raise NotFoundError(f"no member of staff has the address {address}", hint="see `casemill staff list`")
    return person


def _read(field: str, value: Any, read: Callable[[str, Any], V]) -> V | None:
    """Read a value; None and an empty text mean that it was not given."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return read(field, value)


def _require_name(changes: dict[str, Any]) -> None:
    if not changes["name"]:
        raise RefusedValueError("name", "missing_name", "a new member of staff needs a name", hint="give the name")


def _create(records: RecordCache, record: R, changes: dict[str, Any]) -> Saved[R]:
    for key, value in changes.items():
        if value is not None:
            setattr(record, key, value)
    records.session.add(record)
    return Saved(record, SaveOutcome.CREATED)


def _update(record: R, changes: dict[str, Any]) -> Saved[R]:
    different = {key: value for key, value in changes.items() if value is not None and getattr(record, key) != value}
    for key, value in different.items():
        setattr(record, key, value)
    return Saved(record, SaveOutcome.UPDATED if different else SaveOutcome.UNCHANGED)
