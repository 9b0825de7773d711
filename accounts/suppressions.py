"""Suppressions: addresses that get no mail of a scope, with the reason and an end, until they are lifted.

A row is for one address, or for a whole domain written as ``@domain``. The scope ``automatic`` is all mail that no person wrote,
``surveys`` is surveys only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from accounts import field_parsers
from core.database.bulk import insert_ignore
from core.database.in_lists import in_list
from core.database.types import Base
from core.errors import NotFoundError
from core.reasons import Reason

AUTOMATIC, SURVEYS = "automatic", "surveys"
SCOPES = (AUTOMATIC, SURVEYS)


class Suppression(Base):
    """An address (or ``@domain``) that gets no mail of ``scope`` until ``until`` (None: until it is lifted), and why."""

    __tablename__ = "suppression"

    address: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True, default=AUTOMATIC)
    code: Mapped[str]
    reason: Mapped[str]
    until: Mapped[datetime | None]
    created_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Block:
    """One address to be blocked, until a time or (None) until it is lifted."""

    address: str
    scope: str
    reason: Reason
    until: datetime | None


def block(session: Session, blocks: Iterable[Block], now: datetime) -> None:
    """Block addresses; one that is blocked already stays blocked at least as long as before."""
    wanted = {(one.address, one.scope): one for one in blocks}
    rows = [
        {"address": one.address, "scope": one.scope, "code": one.reason.code, "reason": one.reason.text,
         "until": one.until, "created_at": now}
        for _, one in sorted(wanted.items())
    ]  # fmt: skip
    insert_ignore(session, Suppression, rows)
    for row in rows:
        known = Suppression.address == row["address"], Suppression.scope == row["scope"], Suppression.until.is_not(None)
        later = [] if row["until"] is None else [Suppression.until < row["until"]]
        changes = {"code": row["code"], "reason": row["reason"], "until": row["until"]}
        session.execute(update(Suppression).where(*known, *later).values(changes))


def find_blocked(session: Session, addresses: Iterable[str], now: datetime, scope: str = AUTOMATIC) -> set[str]:
    """Return those of the addresses that are blocked now, themselves or by their domain. One query."""
    names = set(addresses)
    by_domain = {f"@{name.rpartition('@')[2]}" for name in names if "@" in name}
    statement = select(Suppression.address).where(
        in_list(Suppression.address, names | by_domain), Suppression.scope == scope, _in_force(now)
    )
    found = set(session.execute(statement).scalars())
    return {name for name in names if name in found or f"@{name.rpartition('@')[2]}" in found}


def list_blocks(session: Session, now: datetime) -> Sequence[dict[str, Any]]:
    """List the blocks in force: address, scope, code, reason, until, since."""
    statement = select(Suppression).where(_in_force(now)).order_by(Suppression.address, Suppression.scope)
    return [
        {"address": row.address, "scope": row.scope, "code": row.code, "reason": row.reason,
         "until": row.until.isoformat(timespec="seconds") if row.until else None,
         "since": row.created_at.isoformat(timespec="seconds")}
        for row in session.execute(statement).scalars()
    ]  # fmt: skip


def lift(session: Session, address: str, scope: str | None = None) -> int:
    """Let an address (or ``@domain``) get mail again; return how many blocks ended. Raises :class:`NotFoundError`."""
    name = parse_target(address)
    statement = delete(Suppression).where(Suppression.address == name)
    if scope is not None:
        statement = statement.where(Suppression.scope == scope)
    lifted = len(session.execute(statement.returning(Suppression.address)).all())
    if not lifted:
        raise NotFoundError(f"{name} is not blocked", hint="`casemill contact blocks` lists the blocked addresses")
    return lifted


def parse_target(text: str) -> str:
    """Return an address, or a domain as ``@domain``, in the stored form. Raises :class:`RefusedError`."""
    name = text.strip()
    if name.startswith("@"):
        (domain,) = field_parsers.read_domains("address", [name.removeprefix("@")])
        return f"@{domain}"
    return field_parsers.read_email("address", name)


def _in_force(now: datetime) -> Any:
    return or_(Suppression.until.is_(None), Suppression.until > now)
