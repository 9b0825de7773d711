"""Who may do what with tickets and tasks: one table for commands, programs and pages alike. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from core.errors import RefusedError
from core.reasons import Reason


class Act(StrEnum):
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
    HAND_OVER_OWN = "hand_over_own"
    FORCE = "force"
    HAND_OVER_ALL = "hand_over_all"
    DEACTIVATE = "deactivate"


class Actor(Protocol):
    """What is asked of a person."""

    name: str
    role: str
    active: bool


MANAGERS: Final = frozenset({"manager", "administrator"})
EVERYBODY: Final = MANAGERS | {"representative"}
#: Tickets are the whole team's: every member may work on every one. What goes past rules or colleagues is for managers.
ALLOWED: Final[dict[Act, frozenset[str]]] = {
    Act.ENTER: EVERYBODY,
    Act.MARK: EVERYBODY,
    Act.REOPEN: EVERYBODY,
    Act.ASSIGN: EVERYBODY,
    Act.NOTE: EVERYBODY,
    Act.MERGE: EVERYBODY,
    Act.RELEASE: EVERYBODY,
    Act.WRITE: EVERYBODY,
    Act.TEMPLATE: MANAGERS,
    Act.TASK: EVERYBODY,
    Act.HAND_OVER_OWN: EVERYBODY,
    Act.FORCE: MANAGERS,
    Act.HAND_OVER_ALL: MANAGERS,
    Act.DEACTIVATE: MANAGERS,
}
_ONLY: Final = {
    Act.TEMPLATE: "only managers change templates",
    Act.FORCE: "only managers force a move",
    Act.HAND_OVER_ALL: "only managers hand over the tickets of somebody else",
    Act.DEACTIVATE: "only managers let somebody leave",
}


def refusal(who: Actor, act: Act) -> Reason | None:
    """Why ``who`` may not do this, or None when they may."""
    if not who.active:
        return Reason("not_active", f"{who.name} is no longer active")
    if who.role in ALLOWED[act]:
        return None
    if who.role not in EVERYBODY:
        return Reason("unknown_role", f"{who.name} has no role that works on tickets")
    return Reason("not_a_manager", f"{who.name} is no manager, and {_ONLY[act]}")


def require(who: Actor, act: Act) -> None:
    """Raises :class:`RefusedError` with the reason when ``who`` may not."""
    reason = refusal(who, act)
    if reason is not None:
        raise RefusedError(reason.code, reason.text)
