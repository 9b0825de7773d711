"""Assignment: every step of its order, with its reason (domain.md, Tickets)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from core.settings.sections import Routing, Rule, Telemedicine
from tickets.routing import (
    Assignment,
    RoutingInput,
    Staffing,
    StaffView,
    TeamView,
    assign,
    find_telemedicine_assignee,
    find_telemedicine_reason,
)

#: A Monday, 10:00 in New York and 07:00 in Los Angeles.
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
ROUTING_INPUT = RoutingInput("email", "", "A claim was denied", "lakeside.example", "Lakeside", consultant_id=1)
STRANGER = replace(ROUTING_INPUT, company_name="", consultant_id=None)


def person(number: int, **values: Any) -> StaffView:
    name = ["Ada", "Ben", "Cleo", "Dov", "Eve"][number - 1]
    fields: dict[str, Any] = {
        "email": f"{name.lower()}@billing.example", "name": name, "active": True, "capacity": 50, "zone": "America/New_York",
        "weekdays": "01234", "starts": time(8), "ends": time(18), "stand_in_id": None, "last_assigned_at": None,
    }  # fmt: skip
    return StaffView(id=number, **(fields | values))


def team(number: int, name: str, *members: int, default: bool = False, manager: int | None = None) -> TeamView:
    return TeamView(number, name, name.title(), members, manager, default)


def staffing(*people: StaffView, teams: tuple[TeamView, ...] = ()) -> Staffing:
    return Staffing({one.id: one for one in people}, {one.name: one for one in teams})


def rule(**values: Any) -> Rule:
    return Rule.model_validate(values)


def codes(assignment: Assignment) -> list[str]:
    return [step.code for step in assignment.steps]


def away(start: float = -1, end: float = 1) -> tuple[tuple[datetime, datetime], ...]:
    return ((NOW + timedelta(hours=start), NOW + timedelta(hours=end)),)


def test_the_operations_consultant_comes_first_even_out_of_hours_and_over_capacity() -> None:
    full = person(1, capacity=0, load=9, starts=time(20), ends=time(21))
    all_staff = staffing(full, person(2), teams=(team(1, "billing", 2, default=True),))
    result = assign(ROUTING_INPUT, all_staff, [rule(source="email", person="ben@billing.example")], NOW)
    assert (result.staff_id, codes(result)) == (1, ["consultant"])
    assert result.reason.text == "Ada is the operations consultant of Lakeside"


@pytest.mark.parametrize(
    ("consultant", "why"),
    [({"active": False}, "is no longer active"), ({"absences": away()}, "is out of office")],
)
def test_stand_in_gets_the_ticket_of_an_unavailable_consultant(consultant: dict[str, Any], why: str) -> None:
    result = assign(ROUTING_INPUT, staffing(person(1, stand_in_id=2, **consultant), person(2)), [], NOW)
    assert (result.staff_id, codes(result)) == (2, ["consultant_unavailable", "stand_in"])
    assert why in result.steps[0].text
    assert result.reason.text == "Ben stands in for Ada"


@pytest.mark.parametrize(
    ("hours", "there"),
    [((-1, 1), False), ((0, 1), False), ((-1, 0), True), ((1, 2), True), ((-2, -1), True)],
)
def test_an_absence_begins_at_its_start_and_is_over_at_its_end(hours: tuple[float, float], there: bool) -> None:
    result = assign(ROUTING_INPUT, staffing(person(1, absences=away(*hours))), [], NOW)
    assert (result.staff_id == 1) is there


@pytest.mark.parametrize("stand_in", [{"active": False}, {"absences": away()}])
def test_unavailable_stand_in_leaves_the_choice_to_the_rules(stand_in: dict[str, Any]) -> None:
    people = staffing(person(1, active=False, stand_in_id=2), person(2, **stand_in, stand_in_id=1), person(3))
    result = assign(ROUTING_INPUT, people, [rule(source="email", person="cleo@billing.example")], NOW)
    assert (result.staff_id, codes(result)) == (3, ["consultant_unavailable", "stand_in_unavailable", "routing_rule"])


def test_consultant_without_a_stand_in_is_a_recorded_step() -> None:
    result = assign(ROUTING_INPUT, staffing(person(1, active=False)), [], NOW)
    assert codes(result)[:2] == ["consultant_unavailable", "no_stand_in"]


def test_missing_consultant_and_unknown_company_have_different_reasons() -> None:
    result = assign(replace(ROUTING_INPUT, consultant_id=None), staffing(), [], NOW)
    assert result.steps[0].text == "Lakeside has no operations consultant on record"
    assert assign(STRANGER, staffing(), [], NOW).steps[0].text == "No company is known for the sender"


RULES = {
    "source": ({"source": "formstack"}, {"source": "formstack"}, {"source": "email"}),
    "category": ({"category": "Denials"}, {"category": "denials"}, {"category": "Denials and more"}),
    "keyword": ({"keyword": "Denied"}, {"text": "it was DENIED\nagain"}, {"text": "it was paid"}),
    "domain": ({"sender_domain": "A.Example"}, {"sender_domain": "a.example"}, {"sender_domain": "aa.example"}),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_rule_assigns_only_when_its_condition_holds(case: str) -> None:
    condition, fits, fits_not = RULES[case]
    rules = [rule(**condition, person="Ben@billing.example")]
    result = assign(replace(STRANGER, **fits), staffing(person(1), person(2)), rules, NOW)
    assert (result.staff_id, codes(result)) == (2, ["no_consultant", "routing_rule"])
    result = assign(replace(STRANGER, **fits_not), staffing(person(1), person(2)), rules, NOW)
    assert (result.staff_id, codes(result)) == (None, ["no_consultant", "no_routing_rule", "no_default_team", "nobody"])


def test_all_conditions_of_a_rule_must_hold() -> None:
    rules = [rule(source="email", keyword="denied", sender_domain="lakeside.example", person="ben@billing.example")]
    people = staffing(person(2))
    assert assign(STRANGER, people, rules, NOW).staff_id == 2
    for other in ({"source": "phone"}, {"text": "paid"}, {"sender_domain": "x.example"}):
        assert assign(replace(STRANGER, **other), people, rules, NOW).staff_id is None


def test_first_rule_with_an_available_person_decides() -> None:
    rules = [
        rule(keyword="denied", person="gone@billing.example"),
        rule(source="email", person="ben@billing.example"),
        rule(source="email", person="cleo@billing.example"),
    ]
    result = assign(STRANGER, staffing(person(1), person(2, absences=away()), person(3)), rules, NOW)
    assert result.staff_id == 3
    assert codes(result) == ["no_consultant", "routing_rule_empty", "routing_rule_empty", "routing_rule"]
    assert result.reason.text == "Routing rule 3 (source email) gives it to Cleo"


def test_rule_for_a_team_assigns_its_least_loaded_member() -> None:
    people = staffing(person(1, load=3), person(2, load=1), person(3, load=0), teams=(team(1, "denials", 1, 2),))
    result = assign(STRANGER, people, [rule(keyword="denied", team="denials")], NOW)
    assert (result.staff_id, codes(result)) == (2, ["no_consultant", "routing_rule"])


@pytest.mark.parametrize("name", ["denials", "no such team"])
def test_a_rule_for_an_empty_or_unknown_team_leaves_it_to_the_default_team(name: str) -> None:
    people = staffing(person(1), teams=(team(1, "denials"), team(2, "billing", 1, default=True)))
    result = assign(STRANGER, people, [rule(keyword="denied", team=name)], NOW)
    assert (result.staff_id, codes(result)) == (1, ["no_consultant", "routing_rule_empty", "least_loaded"])


def default_team(*people: StaffView) -> Staffing:
    return staffing(*people, teams=(team(1, "billing", *(one.id for one in people), default=True),))


def test_the_least_loaded_of_the_default_team_gets_the_rest() -> None:
    result = assign(STRANGER, default_team(person(1, load=2), person(2, load=1), person(3, load=5)), [], NOW)
    assert (result.staff_id, codes(result)) == (2, ["no_consultant", "no_routing_rule", "least_loaded"])
    assert result.reason.text == "Ben has the fewest open tickets in Billing (1)"


@pytest.mark.parametrize(
    "unfit",
    [
        {"load": 50}, {"load": 51}, {"capacity": 0}, {"active": False}, {"absences": away()}, {"weekdays": "56"},
        {"starts": time(11)}, {"ends": time(10)}, {"zone": "America/Los_Angeles"}, {"zone": "Asia/Tokyo"},
    ],
    ids=str,
)  # fmt: skip
def test_member_over_capacity_out_of_office_or_out_of_hours_gets_no_ticket(unfit: dict[str, Any]) -> None:
    result = assign(STRANGER, default_team(person(1, **unfit)), [], NOW)
    assert (result.staff_id, codes(result)) == (None, ["no_consultant", "no_routing_rule", "team_full_or_away", "nobody"])
    assert assign(STRANGER, default_team(person(1, **unfit), person(2, load=49)), [], NOW).staff_id == 2


def test_working_hours_are_those_of_the_persons_own_zone_and_weekday() -> None:
    sunday_night = datetime(2026, 11, 22, 23, tzinfo=UTC)  # 10:00 on Monday in Sydney, 18:00 on Sunday in New York
    sydney, new_york = person(1, zone="Australia/Sydney"), person(2)
    assert sydney.is_working(sunday_night) and not new_york.is_working(sunday_night)
    assert not sydney.is_working(NOW) and new_york.is_working(NOW)


@pytest.mark.parametrize(
    ("utc", "works"),
    [("2026-11-23 12:59", False), ("2026-11-23 13:00", True), ("2026-11-23 22:59", True), ("2026-11-23 23:00", False),
     ("2026-07-06 12:00", True), ("2026-07-06 11:59", False), ("2026-07-06 22:00", False)],
)  # fmt: skip
def test_working_hours_follow_summer_time(utc: str, works: bool) -> None:
    assert person(1).is_working(datetime.fromisoformat(utc).replace(tzinfo=UTC)) is works


def chosen(*people: StaffView) -> int | None:
    return assign(STRANGER, default_team(*people), [], NOW).staff_id


def test_ties_go_to_the_one_longest_without_an_assignment_then_to_the_first() -> None:
    earlier, later = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    assert chosen(person(1, last_assigned_at=later), person(2, last_assigned_at=earlier)) == 2
    assert chosen(person(1, last_assigned_at=earlier), person(2)) == 2
    assert chosen(person(2), person(1)) == 1


def test_unassigned_ticket_names_its_saved_view_in_the_last_step() -> None:
    result = assign(STRANGER, staffing(), [], NOW)
    assert result.staff_id is None
    assert codes(result) == ["no_consultant", "no_routing_rule", "no_default_team", "nobody"]
    assert "PMB Support Unassigned/Open Tickets" in result.reason.text


def test_each_assignment_counts_for_the_next_one() -> None:
    people = default_team(person(1), person(2, load=1))
    owners = []
    for _ in range(5):
        result = assign(STRANGER, people, [], NOW)
        assert result.staff_id is not None
        people.count_assignment(result.staff_id, NOW)
        owners.append(result.staff_id)
    assert owners == [1, 2, 1, 2, 1]
    assert {one.load for one in people.people.values()} == {3}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"telemedicine": True}, "telemedicine_company"),
        ({"category": "TELEMEDICINE"}, "telemedicine_category"),
        ({"text": "Our Telehealth claims"}, "telemedicine_keyword"),
        ({"text": "the video VISIT failed"}, "telemedicine_keyword"),
        ({"text": "a visit with video"}, None),
        ({}, None),
    ],
)
def test_telemedicine_is_recognised_by_company_category_or_keyword(values: dict[str, Any], code: str | None) -> None:
    reason = find_telemedicine_reason(replace(ROUTING_INPUT, **values), Telemedicine())
    assert (reason.code if reason else None) == code


def test_telemedicine_goes_to_the_person_else_the_team_else_the_default_teams_manager() -> None:
    teams = (team(1, "billing", 1, default=True, manager=3), team(2, "onboarding", 2))
    people = staffing(person(1), person(2), person(3), teams=teams)

    def target(**values: str) -> tuple[int | None, int | None]:
        return find_telemedicine_assignee(Routing(telemedicine=Telemedicine.model_validate(values)), people)

    assert target(person="Ben@billing.example", team="onboarding") == (2, None)
    assert target(team="onboarding") == (None, 2)
    assert target(person="gone@billing.example", team="onboarding") == (None, 2)
    assert target() == target(team="gone") == (3, 1)
    assert find_telemedicine_assignee(Routing(), staffing()) == (None, None)


def test_telemedicine_task_does_not_go_to_an_inactive_person() -> None:
    people = staffing(person(1, active=False), teams=(team(2, "onboarding", 1),))
    settings = Routing(telemedicine=Telemedicine(person="ada@billing.example", team="onboarding"))
    assert find_telemedicine_assignee(settings, people) == (None, 2)
