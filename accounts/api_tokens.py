"""API tokens, with which a program acts for a member of staff: only hashes are stored, and each has scopes and an expiry.

A token allows no more than its holder may do, and is invalid while its holder is inactive.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ForeignKey, String, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from accounts.models import Staff
from core.database.types import Base
from core.errors import NotFoundError, RefusedError

#: Scope → what it allows.
SCOPES: Final = {
    "tickets:read": "list and read tickets",
    "tickets:write": "enter tickets, write from them, change them",
    "tasks:read": "list follow-up tasks",
    "tasks:write": "add, finish, reassign and postpone follow-up tasks",
    "directory:read": "list companies and contacts",
    "items:read": "list inbound items with their outcomes and reasons",
}
#: Names the secret for scanners, and for a person who finds one in a file.
PREFIX = "casemill_"
MAX_TOKEN_DAYS = 730
#: Last use is written no more often: otherwise each API call would cost a commit.
LAST_USED_INTERVAL = timedelta(minutes=1)


class ApiToken(Base):
    """A token of a member of staff. ``token_hash`` is the SHA-256 of the secret, which has 256 random bits."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    name: Mapped[str]
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Bearer:
    """The holder of a valid token. ``is_use_recorded``: its last use was written a moment ago."""

    token_id: int
    staff_id: int
    scopes: frozenset[str]
    is_use_recorded: bool


def issue(session: Session, staff: Staff, name: str, scopes: Iterable[str], days: int, now: datetime) -> tuple[ApiToken, str]:
    """Create a token valid for ``days`` and return it with its secret, which is not stored. Raises :class:`RefusedError`."""
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        problem = f"there is no scope {', '.join(unknown)}" if unknown else "a token needs a scope"
        raise RefusedError("bad_scope", problem, hint=f"choose from {', '.join(SCOPES)}")
    if not staff.active:
        raise RefusedError("not_active", f"{staff.name} is no longer active", hint="choose a member of staff who is")
    if not name.strip() or len(name) > 100:
        raise RefusedError("bad_name", "a token needs a name of at most 100 characters", hint="name the program that uses it")
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise RefusedError("bad_days", f"a token is valid for 1 to {MAX_TOKEN_DAYS} days")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        staff_id=staff.id, name=name.strip(), token_hash=_hash(secret), scopes=wanted, created_at=now,
        expires_at=now + timedelta(days=days),
    )  # fmt: skip
    session.add(token)
    session.flush()
    return token, secret


def authenticate(session: Session, secret: str, now: datetime) -> Bearer | None:
    """Return the holder of a token; None for one that is unknown, expired, revoked, or of an inactive member of staff.

    The index compares hashes, so the time it takes reveals nothing about a secret.
    """
    statement = select(ApiToken, Staff.active).join(Staff, Staff.id == ApiToken.staff_id)
    found = session.execute(statement.where(ApiToken.token_hash == _hash(secret))).first()
    if found is None or not found[1]:
        return None
    token: ApiToken = found[0]
    if token.revoked_at is not None or token.expires_at <= now:
        return None
    is_fresh = token.last_used_at is not None and token.last_used_at > now - LAST_USED_INTERVAL
    return Bearer(token.id, token.staff_id, frozenset(token.scopes), is_fresh)


def record_use(session: Session, token_id: int, now: datetime) -> None:
    """Record that a token was used at ``now``."""
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))


def revoke(session: Session, token_id: int, now: datetime) -> ApiToken:
    """Revoke a token; one that is revoked already stays so. Raises :class:`NotFoundError`."""
    token = session.get(ApiToken, token_id)
    if token is None:
        raise NotFoundError(f"there is no token {token_id}", hint="`casemill token list` lists them")
    token.revoked_at = token.revoked_at or now
    return token


def list_tokens(session: Session, now: datetime) -> list[dict[str, Any]]:
    """List all tokens without their secrets, the newest first."""
    statement = select(ApiToken, Staff.email, Staff.active).join(Staff, Staff.id == ApiToken.staff_id)
    return [
        {
            "id": token.id, "name": token.name, "staff": email, "scopes": list(token.scopes),
            "state": _state(token, active, now), "created_at": token.created_at.isoformat(timespec="seconds"),
            "expires_at": token.expires_at.isoformat(timespec="seconds"),
            "last_used_at": token.last_used_at.isoformat(timespec="seconds") if token.last_used_at else None,
        }
        for token, email, active in session.execute(statement.order_by(ApiToken.id.desc()))
    ]  # fmt: skip


def _state(token: ApiToken, active: bool, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    if not active:
        return "holder not active"
    return "over" if token.expires_at <= now else "good"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
