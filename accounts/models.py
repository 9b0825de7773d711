"""Tables of companies, contacts, staff and teams."""

from __future__ import annotations

from datetime import datetime, time

from sqlalchemy import ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from core.database.types import Base


class Staff(Base):
    """An internal user. Working hours are local to ``zone``; ``weekdays`` is a string of digits, Monday is 0."""

    __tablename__ = "staff"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(default="representative")
    active: Mapped[bool] = mapped_column(default=True)
    capacity: Mapped[int] = mapped_column(default=50)
    skills: Mapped[str] = mapped_column(default="")
    zone: Mapped[str] = mapped_column(default="America/New_York")
    weekdays: Mapped[str] = mapped_column(default="01234")
    starts: Mapped[time] = mapped_column(default=time(8))
    ends: Mapped[time] = mapped_column(default=time(18))
    stand_in_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    digest: Mapped[bool] = mapped_column(default=False, server_default=false())
    last_assigned_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Absence(Base):
    """A span in which a member of staff is out of office."""

    __tablename__ = "absence"

    id: Mapped[int] = mapped_column(primary_key=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class Team(Base):
    """A team; ``name`` is its key in the configuration."""

    __tablename__ = "team"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    is_default: Mapped[bool] = mapped_column(default=False)
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))


class TeamMember(Base):
    """Who belongs to which team."""

    __tablename__ = "team_member"

    team_id: Mapped[int] = mapped_column(ForeignKey("team.id"), primary_key=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)


class Company(Base):
    """A customer's practice. ``folded`` is its name by :func:`accounts.names.fold_name`, for comparison."""

    __tablename__ = "company"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    folded: Mapped[str] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    account_number: Mapped[str | None] = mapped_column(unique=True)
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    consultant_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    telemedicine: Mapped[bool] = mapped_column(default=False)
    last_surveyed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class CompanyDomain(Base):
    """An email domain that belongs to one company."""

    __tablename__ = "company_domain"

    domain: Mapped[str] = mapped_column(primary_key=True)
    company_id: Mapped[int] = mapped_column(ForeignKey("company.id"), index=True)


class Contact(Base):
    """A person at a company; without an email address when only a telephone number is known.

    ``last_surveyed_at`` is what the survey throttle compares. ``surveys_off_at`` is when they unsubscribed from surveys.
    """

    __tablename__ = "contact"
    __table_args__ = (Index("ix_contact_phone", "phone"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    phone: Mapped[str] = mapped_column(default="")
    preferred_contact: Mapped[str] = mapped_column(default="email")
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"), index=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)
    last_surveyed_at: Mapped[datetime | None]
    surveys_off_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
