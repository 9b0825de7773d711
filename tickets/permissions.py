"""Who may do what with tickets and tasks: one table for commands, the API and pages. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from core.errors import RefusedError
from core.reasons import Reason


class Action(StrEnum):
    """What a member of staff may do."""

    ENTER = "enter"
    MARK = "mark"
    REOPEN = "reopen"
    ASSIGN = "assign"
    NOTE = "note"
    MERGE = "merge"
    RELEASE = "release"
    WRITE = "write"
    TEMPLATE = "template"
    TASK = "task"
    REASSIGN_OWN = "hand_over_own"
    FORCE = "force"
    REASSIGN_ALL = "hand_over_all"
    DEACTIVATE = "deactivate"


class Actor(Protocol):
    """The person who acts, as permissions see them."""

    name: str
    role: str
    active: bool


MANAGERS: Final = frozenset({"manager", "administrator"})
ALL_ROLES: Final = MANAGERS | {"representative"}
#: Tickets belong to the whole team, so every role works on every ticket. Acts that override rules or colleagues are for managers.
ROLES_BY_ACTION: Final[dict[Action, frozenset[str]]] = {
    Action.ENTER: ALL_ROLES,
    Action.MARK: ALL_ROLES,
    Action.REOPEN: ALL_ROLES,
    Action.ASSIGN: ALL_ROLES,
    Action.NOTE: ALL_ROLES,
    Action.MERGE: ALL_ROLES,
    Action.RELEASE: ALL_ROLES,
    Action.WRITE: ALL_ROLES,
    Action.TEMPLATE: MANAGERS,
    Action.TASK: ALL_ROLES,
    Action.REASSIGN_OWN: ALL_ROLES,
    Action.FORCE: MANAGERS,
    Action.REASSIGN_ALL: MANAGERS,
    Action.DEACTIVATE: MANAGERS,
}
_MANAGERS_ONLY: Final = {
    Action.TEMPLATE: "only managers change templates",
    Action.FORCE: "only managers force a move",
    Action.REASSIGN_ALL: "only managers reassign the tickets of a colleague",
    Action.DEACTIVATE: "only managers deactivate staff",
}


def refusal(actor: Actor, action: Action) -> Reason | None:
    """Return why ``actor`` may not do this, or None when they may."""
    if not actor.active:
        return Reason("not_active", f"{actor.name} is no longer active")
    if actor.role in ROLES_BY_ACTION[action]:
        return None
    if actor.role not in ALL_ROLES:
        return Reason("unknown_role", f"{actor.name} has no role that works on tickets")
    return Reason("not_a_manager", f"{actor.name} is not a manager, and {_MANAGERS_ONLY[action]}")


def require(actor: Actor, action: Action) -> None:
    """Raise :class:`RefusedError` with the reason when ``actor`` may not do this."""
    reason = refusal(actor, action)
    if reason is not None:
        raise RefusedError(reason.code, reason.text)
