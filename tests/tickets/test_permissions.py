"""Who may do what: the table of roles, with reasons."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tickets.permissions import Action, refusal

FOR_MANAGERS = {Action.FORCE, Action.REASSIGN_ALL, Action.DEACTIVATE, Action.TEMPLATE}


@dataclass
class Person:
    role: str
    active: bool = True
    name: str = "Ada"


def code(role: str, act: Action, *, active: bool = True) -> str | None:
    reason = refusal(Person(role, active), act)
    return reason.code if reason else None


@pytest.mark.parametrize("act", Action)
@pytest.mark.parametrize("role", ["manager", "administrator"])
def test_managers_and_administrators_may_do_everything(role: str, act: Action) -> None:
    assert code(role, act) is None


@pytest.mark.parametrize("act", Action)
def test_representative_may_do_everything_but_manager_acts(act: Action) -> None:
    assert code("representative", act) == ("not_a_manager" if act in FOR_MANAGERS else None)


@pytest.mark.parametrize("act", Action)
@pytest.mark.parametrize("role", ["representative", "manager", "administrator"])
def test_inactive_person_may_do_nothing(role: str, act: Action) -> None:
    assert code(role, act, active=False) == "not_active"


def test_unknown_role_may_do_nothing() -> None:
    assert code("visitor", Action.NOTE) == "unknown_role"


@pytest.mark.parametrize("act", sorted(FOR_MANAGERS))
def test_refusal_names_the_person_and_the_reason_in_a_sentence(act: Action) -> None:
    reason = refusal(Person("representative"), act)
    assert reason is not None and reason.text.startswith("Ada is not a manager, and only managers ")
