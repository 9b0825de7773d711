"""The table of moves, over every state there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from tickets.stages import AUDIT, COMPLETED, FINAL_NOTICES, IN_PROGRESS, MOVES, STAGE_NAMES, SUBMITTED, StageState, advance

BOOLS = (False, True)
NOTICES = ("pending", *sorted(FINAL_NOTICES))
STATES = [StageState(*values) for values in product(STAGE_NAMES, NOTICES, BOOLS, BOOLS, BOOLS)]


def end_of(state: StageState) -> int:
    return ([state.stage] + [target for target, _ in advance(state)])[-1]


def expected(state: StageState) -> int:
    """Where a state belongs, written from the table in domain.md and not from the code."""
    stage = state.stage
    if stage == 1 and state.creation_notice != "pending":
        stage = 4
    if stage in (1, 4) and state.follow_up_sent:
        stage = 5
    if stage == 5 and state.recap_sent and state.resolution:
        stage = 6
    return stage


def test_stages_are_four_with_their_numbers() -> None:
    assert STAGE_NAMES == {1: "1-Submitted", 4: "4-In Progress", 5: "5-Audit", 6: "6-Completed"}
    assert len(STATES) == 4 * 5 * 8


@pytest.mark.parametrize("state", STATES, ids=str)
def test_every_state_ends_where_the_domain_says(state: StageState) -> None:
    assert end_of(state) == expected(state)


@pytest.mark.parametrize("state", STATES, ids=str)
def test_only_moves_of_the_table_are_made_one_by_one_and_forward(state: StageState) -> None:
    allowed = {(source, move.target) for move in MOVES for source in move.sources}
    assert allowed == {(1, 4), (1, 5), (4, 5), (5, 6)}
    stage = state.stage
    for target, reason in advance(state):
        assert (stage, target) in allowed
        assert target > stage
        assert reason.code and reason.text
        stage = target


@pytest.mark.parametrize("state", STATES, ids=str)
def test_advancing_again_changes_nothing(state: StageState) -> None:
    assert advance(replace(state, stage=end_of(state))) == []


def test_all_milestones_at_once_move_a_new_ticket_through_every_stage() -> None:
    moves = advance(StageState(SUBMITTED, "sent", True, True, True))
    assert [target for target, _ in moves] == [IN_PROGRESS, AUDIT, COMPLETED]
    assert [reason.code for _, reason in moves] == ["creation_notice_settled", "follow_up_sent", "recap_sent_and_resolved"]


def test_follow_up_before_the_notice_moves_to_audit_at_once() -> None:
    assert [target for target, _ in advance(StageState(SUBMITTED, "pending", True, False, False))] == [AUDIT]


@pytest.mark.parametrize(("resolution", "recap_sent"), [(False, True), (True, False)])
def test_neither_the_recap_nor_the_resolution_alone_completes(resolution: bool, recap_sent: bool) -> None:
    assert advance(StageState(AUDIT, "sent", True, resolution, recap_sent)) == []


def test_a_completed_ticket_stays_completed() -> None:
    assert advance(StageState(COMPLETED, "pending", False, False, False)) == []
