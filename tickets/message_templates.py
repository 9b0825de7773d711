"""Message templates in the database: in folders, with a new version for each edit; shipped templates are seeded at start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ForeignKey, and_, func, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from accounts.models import Staff
from core.database.types import Base
from core.errors import ConfigurationError, NotFoundError, RefusedError
from tickets import permissions, template_sandbox
from tickets.permissions import Action

FOLDER: Final = "Billing Support"
RECAP: Final = "Billing Support Recap of Resolution"
ASK_FOR_MORE: Final = "Please Tell Us More"
#: The author of the templates that casemill ships.
SHIPPED: Final = "casemill"


class MessageTemplate(Base):
    """A template by its unique name; its texts are in its versions."""

    __tablename__ = "message_template"

    id: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str]
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class MessageTemplateVersion(Base):
    """The texts of a template, numbered from 1; the highest number is in force. A version never changes."""

    __tablename__ = "message_template_version"

    template_id: Mapped[int] = mapped_column(ForeignKey("message_template.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    body: Mapped[str]
    written_by: Mapped[str]
    written_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One version of a template with its texts."""

    template_id: int
    folder: str
    name: str
    number: int
    subject: str
    body: str
    written_by: str
    written_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return the version as JSON for programs."""
        return {
            "folder": self.folder,
            "name": self.name,
            "version": self.number,
            "subject": self.subject,
            "body": self.body,
            "written_by": self.written_by,
            "written_at": self.written_at.isoformat(timespec="seconds"),
        }


def list_all(session: Session) -> list[TemplateVersion]:
    """List every template in the version in force, by folder and name."""
    return _load_versions(session, in_force=True)


def find(session: Session, name: str, number: int | None = None) -> TemplateVersion:
    """Return the version in force, or version ``number``; the case of the name does not matter. Raises :class:`NotFoundError`."""
    matching = [one for one in _load_versions(session, in_force=number is None) if one.name.casefold() == name.strip().casefold()]
    for version in matching:
        if number is None or version.number == number:
            return version
    what = f"version {number} of {name!r}" if number is not None else f"template {name!r}"
    raise NotFoundError(f"there is no {what}", hint="`casemill templates list` names them")


def history(session: Session, name: str) -> list[TemplateVersion]:
    """List all versions, the newest first. Raises :class:`NotFoundError`."""
    wanted = find(session, name).template_id
    return [one for one in reversed(_load_versions(session, in_force=False)) if one.template_id == wanted]


def edit(
    session: Session, name: str, subject: str, body: str, by: Staff, now: datetime, *, folder: str = FOLDER
) -> TemplateVersion:
    """Add a version, of a new template when the name is new; unchanged texts add none.

    Raises :class:`RefusedError` for texts that are no template (:func:`tickets.template_sandbox.check`).
    """
    permissions.require(by, Action.TEMPLATE)
    if not name.strip():
        raise RefusedError("no_name", "a template needs a name")
    template_sandbox.check(subject, body)
    return _write(session, folder, name.strip(), subject.strip(), body.strip() + "\n", by.email, now)


def restore(session: Session, name: str, number: int, by: Staff, now: datetime) -> TemplateVersion:
    """Put an earlier version in force again, as a new version. Raises :class:`NotFoundError`."""
    permissions.require(by, Action.TEMPLATE)
    old = find(session, name, number)
    return _write(session, old.folder, old.name, old.subject, old.body, by.email, now)


def needs_seeding(session: Session, folder: Path) -> bool:
    """Whether :func:`seed` has something to write."""
    return bool(_find_changes(session, folder))


def seed(session: Session, folder: Path, now: datetime) -> int:
    """Write the shipped templates; one that staff have edited stays as it is. Returns how many were written."""
    changes = _find_changes(session, folder)
    for name, subject, body in changes:
        _write(session, FOLDER, name, subject, body, SHIPPED, now)
    return len(changes)


def _find_changes(session: Session, folder: Path) -> list[tuple[str, str, str]]:
    """Name, subject and body of shipped templates that are missing, or stored in an older shipped text."""
    known = {one.name: one for one in list_all(session)}
    shipped = [read_file(path) for path in sorted(folder.glob("*.txt"))]
    return [
        (name, subject, body)
        for name, subject, body in shipped
        if name not in known or (known[name].written_by == SHIPPED and (known[name].subject, known[name].body) != (subject, body))
    ]


def read_file(path: Path) -> tuple[str, str, str]:
    """Return name, subject and body of a file whose first two lines are ``Name:`` and ``Subject:``.

    Raises :class:`ConfigurationError` for another form.
    """
    head, _, body = path.read_text("utf-8").partition("\n\n")
    lines = head.split("\n")
    if len(lines) != 2 or not lines[0].startswith("Name: ") or not lines[1].startswith("Subject: "):
        raise ConfigurationError("a message template begins with the lines Name: and Subject:", key=path.name)
    return lines[0].removeprefix("Name: "), lines[1].removeprefix("Subject: "), body.strip() + "\n"


def _write(session: Session, folder: str, name: str, subject: str, body: str, author: str, now: datetime) -> TemplateVersion:
    template = session.execute(select(MessageTemplate).where(MessageTemplate.name == name).with_for_update()).scalar_one_or_none()
    if template is None:
        template = MessageTemplate(folder=folder, name=name, created_at=now)
        session.add(template)
        session.flush()
    last = session.execute(
        select(MessageTemplateVersion).where(MessageTemplateVersion.template_id == template.id)
        .order_by(MessageTemplateVersion.number.desc()).limit(1)
    ).scalar_one_or_none()  # fmt: skip
    if last is None or (last.subject, last.body) != (subject, body):
        number = last.number + 1 if last else 1
        row = {"template_id": template.id, "number": number, "subject": subject, "body": body}
        session.execute(insert(MessageTemplateVersion).values(**row, written_by=author, written_at=now))
    return find(session, name)


def _load_versions(session: Session, *, in_force: bool) -> list[TemplateVersion]:
    columns = MessageTemplateVersion
    statement = select(
        columns.template_id, MessageTemplate.folder, MessageTemplate.name, columns.number, columns.subject, columns.body,
        columns.written_by, columns.written_at,
    ).join(MessageTemplate, MessageTemplate.id == columns.template_id)  # fmt: skip
    if in_force:
        newest = select(columns.template_id, func.max(columns.number).label("number")).group_by(columns.template_id).subquery()
        statement = statement.join(newest, and_(newest.c.template_id == columns.template_id, newest.c.number == columns.number))
    rows: Sequence[Any] = session.execute(statement.order_by(MessageTemplate.folder, MessageTemplate.name, columns.number)).all()
    return [TemplateVersion(*row) for row in rows]
