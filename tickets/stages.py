"""The stages and the table of moves between them (domain.md, Tickets; seeds/billing-support-tickets.txt). Pure.

Only a reopening, a merge and a manager's forced move go past the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.reasons import Reason

SUBMITTED, IN_PROGRESS, AUDIT, COMPLETED = 1, 4, 5, 6
#: Stages 2 and 3 exist in the company's other pipelines, so the numbers have a gap.
STAGE_NAMES = {SUBMITTED: "1-Submitted", IN_PROGRESS: "4-In Progress", AUDIT: "5-Audit", COMPLETED: "6-Completed"}
#: Outcomes of the creation notice after which work on the ticket begins.
FINAL_NOTICES = {"sent", "skipped", "failed", "ambiguous"}


@dataclass(frozen=True, slots=True)
class StageState:
    """The columns of a ticket on which its moves depend."""

    stage: int
    creation_notice: str
    follow_up_sent: bool
    resolution: bool
    recap_sent: bool


@dataclass(frozen=True, slots=True)
class StageMove:
    """One row of the table of moves."""

    sources: frozenset[int]
    target: int
    condition: Callable[[StageState], bool]
    reason: Reason


MOVES = (
    StageMove(
        frozenset({SUBMITTED}),
        IN_PROGRESS,
        lambda state: state.creation_notice in FINAL_NOTICES,
        Reason("creation_notice_settled", "The creation notice has its outcome"),
    ),
    StageMove(
        frozenset({SUBMITTED, IN_PROGRESS}),
        AUDIT,
        lambda state: state.follow_up_sent,
        Reason("follow_up_sent", "4-Support Follow Up Sent is checked"),
    ),
    StageMove(
        frozenset({AUDIT}),
        COMPLETED,
        lambda state: state.recap_sent and state.resolution,
        Reason("recap_sent_and_resolved", "The recap is sent and Resolution is Yes"),
    ),
)


def advance(state: StageState) -> list[tuple[int, Reason]]:
    """Return the moves that apply, one after the other until none does, each as (target stage, reason)."""
    moves: list[tuple[int, Reason]] = []
    while (move := next((m for m in MOVES if state.stage in m.sources and m.condition(state)), None)) is not None:
        moves.append((move.target, move.reason))
        state = replace(state, stage=move.target)
    return moves
