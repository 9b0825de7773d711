"""List staff, companies and contacts: one plain entry a record, with names and addresses in place of ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, aliased

from accounts.models import Absence, Company, CompanyDomain, Contact, Staff, Team, TeamMember
from accounts.names import fold_name

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AbsenceSpan:
    """From ``starts`` to ``ends``, UTC."""

    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class StaffEntry:
    """A member of staff. ``hours`` are local to ``zone``, ``weekdays`` digits (Monday 0), ``away`` current and later absences."""

    email: str
    name: str
    role: str
    active: bool
    capacity: int
    skills: tuple[str, ...]
    zone: str
    weekdays: str
    hours: str
    stand_in: str | None
    teams: tuple[str, ...]
    away: tuple[AbsenceSpan, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CompanyEntry:
    """A company. ``manager`` and ``consultant`` are staff addresses."""

    id: int
    name: str
    account_number: str | None
    active: bool
    manager: str | None
    consultant: str | None
    telemedicine: bool
    domains: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """A contact with the company on record."""

    id: int
    email: str | None
    name: str
    phone: str
    preferred_contact: str
    company: str | None
    is_admin: bool
    active: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_staff(session: Session, now: datetime) -> list[StaffEntry]:
    """List all staff by name."""
    stand_in = aliased(Staff)
    query = select(Staff, stand_in.email).outerjoin(stand_in, Staff.stand_in_id == stand_in.id)
    teams = _group(session.execute(select(TeamMember.staff_id, Team.name).join(Team).order_by(Team.name)))
    coming = select(Absence.staff_id, Absence.starts_at, Absence.ends_at).where(Absence.ends_at > now)
    away = _group((who, AbsenceSpan(starts, ends)) for who, starts, ends in session.execute(coming.order_by(Absence.starts_at)))
    return [
        StaffEntry(
            email=person.email, name=person.name, role=person.role, active=person.active, capacity=person.capacity,
            skills=tuple(filter(None, person.skills.split(","))), zone=person.zone, weekdays=person.weekdays,
            hours=f"{person.starts:%H:%M}-{person.ends:%H:%M}", stand_in=other,
            teams=tuple(teams.get(person.id, ())), away=tuple(away.get(person.id, ())),
        )
        for person, other in session.execute(query.order_by(Staff.name, Staff.email))
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class IdPage:
    """A page of a list in the order of ids: at most ``limit`` of those above ``after``, or only the record ``only``."""

    after: int = 0
    limit: int = 50
    only: int | None = None


def list_companies(session: Session, *, find: str | None = None, page: IdPage | None = None) -> list[CompanyEntry]:
    """List companies by name; ``find`` selects those with that text in their name or account number."""
    manager, consultant = aliased(Staff), aliased(Staff)
    query = (
        select(Company, manager.email, consultant.email)
        .outerjoin(manager, Company.manager_id == manager.id)
        .outerjoin(consultant, Company.consultant_id == consultant.id)
    )
    if find:
        query = query.where(or_(*(one.icontains(find, autoescape=True) for one in (Company.name, Company.account_number))))
    ordered = _select_page(query, Company, page) if page else query.order_by(Company.folded)
    domains = select(CompanyDomain.company_id, CompanyDomain.domain).order_by(CompanyDomain.domain)
    owned = _group(session.execute(domains))
    return [
        CompanyEntry(
            id=company.id, name=company.name, account_number=company.account_number, active=company.active, manager=manager_email,
            consultant=consultant_email, telemedicine=company.telemedicine, domains=tuple(owned.get(company.id, ())),
        )
        for company, manager_email, consultant_email in session.execute(ordered)
    ]  # fmt: skip


def list_contacts(
    session: Session, *, company: str | None = None, find: str | None = None, page: IdPage | None = None
) -> list[ContactEntry]:
    """List contacts by company and name: of one ``company`` (its name), or with the text ``find`` in name, address or phone."""
    query = select(Contact, Company.name).outerjoin(Company, Contact.company_id == Company.id)
    if company:
        query = query.where(Company.folded == fold_name(company))
    if find:
        columns = (Contact.name, Contact.email, Contact.phone)
        query = query.where(or_(*(column.icontains(find, autoescape=True) for column in columns)))
    by_name = query.order_by(Company.folded.nulls_last(), Contact.name, Contact.email, Contact.id)
    ordered = _select_page(query, Contact, page) if page else by_name
    return [
        ContactEntry(
            id=contact.id, email=contact.email, name=contact.name, phone=contact.phone,
            preferred_contact=contact.preferred_contact, company=title, is_admin=contact.is_admin, active=contact.active,
        )
        for contact, title in session.execute(ordered)
    ]  # fmt: skip


def _select_page(query: Select[*tuple[Any, ...]], table: type[Company] | type[Contact], page: IdPage) -> Select[*tuple[Any, ...]]:
    if page.only is not None:
        return query.where(table.id == page.only)
    return query.where(table.id > page.after).order_by(table.id).limit(page.limit)


def _group(pairs: Iterable[tuple[int, T]]) -> dict[int, list[T]]:
    groups: dict[int, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
