"""Who may do what with tickets and tasks: one table for commands, programs and pages alike. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from core.errors import RefusedError
from core.reasons import Reason


class Action(StrEnum):
    """What a member of staff can want to do."""

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
    """What is asked of a person."""

    name: str
    role: str
    active: bool


MANAGERS: Final = frozenset({"manager", "administrator"})
ALL_ROLES: Final = MANAGERS | {"representative"}
#: Tickets are the whole team's: every member may work on every one. What goes past rules or colleagues is for managers.
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
_ONLY: Final = {
    Action.TEMPLATE: "only managers change templates",
    Action.FORCE: "only managers force a move",
    Action.REASSIGN_ALL: "only managers hand over the tickets of somebody else",
    Action.DEACTIVATE: "only managers let somebody leave",
}


def refusal(who: Actor, act: Action) -> Reason | None:
    """Why ``who`` may not do this, or None when they may."""
    if not who.active:
        return Reason("not_active", f"{who.name} is no longer active")
    if who.role in ROLES_BY_ACTION[act]:
        return None
    if who.role not in ALL_ROLES:
        return Reason("unknown_role", f"{who.name} has no role that works on tickets")
    return Reason("not_a_manager", f"{who.name} is no manager, and {_ONLY[act]}")


def require(who: Actor, act: Action) -> None:
    """Raises :class:`RefusedError` with the reason when ``who`` may not."""
    reason = refusal(who, act)
    if reason is not None:
        raise RefusedError(reason.code, reason.text)
