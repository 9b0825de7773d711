"""Who owns a ticket, whose it is for, what it holds, and where it is found: domain.md, Tickets, behind the table of stages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.errors import RefusedError
from tests.domain.conftest import DAY, House
from tests.tickets.world import NOW, matter
from tickets import follow_ups, lifecycle, queries, staff_messages
from tickets.manual_entry import ManualEntry, create, to_submission
from tickets.stages import STAGE_NAMES

OUT = (NOW - DAY, NOW + DAY)


def test_first_the_companys_consultant(house: House) -> None:
    assert house.take()["owner"] == "Ada"
    assert house.steps(1) == ["consultant"]


def test_then_the_stand_in_of_a_consultant_who_is_out(house: House) -> None:
    substitute = house.staff("Sam")
    owner = house.staff("Olga", stand_in_id=substitute)
    house.company("Meadow", "meadow.example", consultant_id=owner)
    house.away(owner, *OUT)
    assert house.take(email="kim@meadow.example")["owner"] == "Sam"


@pytest.mark.parametrize("rule", [
    {"source": "email"}, {"keyword": "denied"}, {"sender_domain": "hilltop.example"}, {"category": "claims"},
])  # fmt: skip
def test_then_the_rules_of_the_configuration(house: House, rule: dict[str, str]) -> None:
    house.configure(routing={"rules": [{**rule, "person": "max@billing.example"}]})
    assert house.take(email="kim@hilltop.example", category="Claims")["owner"] == "Max"


def test_then_the_least_loaded_of_the_default_team_who_is_at_work_and_within_capacity(house: House) -> None:
    house.open_tickets(house.ids["Ben"], 3)
    assert house.take(email="kim@hilltop.example")["owner"] == "Cleo"
    assert house.steps(4)[-1] == "least_loaded"


def test_a_tie_goes_to_the_one_longest_without_an_assignment(house: House) -> None:
    owners = [house.take(email="kim@hilltop.example", now=NOW + timedelta(minutes=one))["owner"] for one in range(4)]
    assert owners == ["Ben", "Cleo", "Ben", "Cleo"]


def test_else_it_waits_in_the_view_of_unassigned_tickets(house: House) -> None:
    for name in ("Ben", "Cleo"):
        house.away(house.ids[name], *OUT)
    ticket = house.take(email="kim@hilltop.example")
    assert ticket["owner"] is None
    assert [row["number"] for row in house.listed("unassigned")] == [ticket["number"]]
    assert house.steps(1)[-1] == "nobody"


def enter(house: House, **given: Any) -> dict[str, Any]:
    fields = {"owner": "ben@billing.example", "company": "Lakeside", "email": "", "name": "Lee Moss", "phone": "555 0100",
              "description": "They called"} | given  # fmt: skip
    submission = to_submission(ManualEntry(**fields), NOW)
    ticket_id = house.database.transaction(lambda session: create(session, submission, house.settings, NOW))
    return house.show(ticket_id)


def test_a_ticket_entered_by_hand_is_its_creators_and_named_after_the_company(house: House) -> None:
    ticket = enter(house)
    assert (ticket["owner"], ticket["name"], ticket["source"]) == ("Ben", "Support – Lakeside", "phone")
    assert house.steps(1) == ["created_by_hand"]


def test_pipeline_and_type_are_the_defaults_of_the_house(house: House) -> None:
    ticket = house.take()
    assert ticket["pipeline"] == "Service Pipeline 2 [Blitz/FTE, Billing Support, WC/Auto]"
    assert ticket["type"] == "Billing Issue"
    assert list(STAGE_NAMES.values()) == ["1-Submitted", "4-In Progress", "5-Audit", "6-Completed"]


def test_a_ticket_has_exactly_one_requester_among_its_contacts(house: House) -> None:
    ticket = house.take(contacts=("kim@lakeside.example", "dana@lakeside.example"))
    roles = {one["email"]: one["role"] for one in ticket["contacts"]}
    assert list(roles.values()).count("requester") == 1
    assert roles["dana@lakeside.example"] == "requester" and len(roles) == 2


def test_the_owner_is_told_and_hands_over_only_by_a_recorded_act(house: House) -> None:
    house.take()
    house.relay()
    assert house.mails("ticket_assigned") == ["ada@billing.example"]

    def give(s, one, by, now):  # type: ignore[no-untyped-def]
        lifecycle.assign(s, one, house.person(s, "Ben"), by, "Knows the payer", now)

    house.do(give)
    house.relay()
    last = house.show(1)["timeline"][-1]
    assert (last["kind"], last["title"], last["body"]) == ("assignment", "Assigned to Ben", "Knows the payer")
    assert house.mails("ticket_assigned") == ["ada@billing.example", "ben@billing.example"]


def test_the_owner_stays_the_owner_through_completion(house: House) -> None:
    house.take()
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        house.do(verb, by="Cleo")
    assert house.show(1)["owner"] == "Ada"


@pytest.mark.parametrize("by", ["setting", "category", "keyword"])
def test_telemedicine_leaves_the_owner_and_raises_an_assist_task(house: House, by: str) -> None:
    house.configure(routing={"telemedicine": {
        "person": "cleo@billing.example", "categories": ["Telemedicine"], "keywords": ["video visit"],
    }})  # fmt: skip
    house.company("Remote", "remote.example", consultant_id=house.ids["Ada"], telemedicine=by == "setting")
    given = {"category": "Telemedicine"} if by == "category" else {"text": "The video visit failed"} if by == "keyword" else {}
    ticket = house.take(email="kim@remote.example", **given)
    assert (ticket["owner"], [(one["kind"], one["assignee"]) for one in ticket["tasks"]]) == ("Ada", [("assist", "Cleo")])


def test_the_company_is_the_one_on_record_before_the_one_of_the_domain(house: House) -> None:
    hilltop = house.company("Third", "third.example")
    house.contact("dana@lakeside.example", hilltop)
    assert house.take()["company"] == "Third"


def test_else_the_company_of_the_mail_domain_and_public_domains_are_nobodys(house: House) -> None:
    assert house.take()["company"] == "Lakeside"
    house.company("Tricky", "gmail.com")
    assert house.take(email="kim@gmail.com")["company"] is None
    assert house.take(email="kim@unknown.example")["company"] is None


def test_open_and_unassigned_tickets_share_a_view_and_are_told_apart_at_a_glance(house: House) -> None:
    for name in ("Ben", "Cleo"):
        house.away(house.ids[name], *OUT)
    house.take()
    house.take(email="kim@hilltop.example")
    assert queries.VIEWS["unassigned"][0] == "PMB Support Unassigned/Open Tickets"
    assert [row["owner"] for row in house.listed("unassigned")] == [None, "Ada"]


def test_the_saved_views_hold_what_their_names_say(house: House) -> None:
    house.receive(matter(), matter(), matter(), matter())
    house.do(lifecycle.mark_follow_up_sent, ticket=2)
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        house.do(verb, ticket=3)
    late = NOW + timedelta(minutes=1)
    house.do(lambda s, one, by, now: follow_ups.add_task(s, one, "Call", late, by, now) and None, ticket=4)

    def found(view: str, at: timedelta = timedelta(0), by: str = "Ada") -> list[int]:
        with house.database.read() as session:
            rows = queries.list_tickets(session, view, NOW + at, person_id=house.ids[by])
        return [int(row["number"][3:]) for row in rows]

    assert found("open") == found("mine") == [4, 2, 1]
    assert found("mine", by="Ben") == []
    assert found("audit") == [2]
    assert found("completed") == [3]
    assert found("today") == [4]
    assert found("overdue") == [] and found("overdue", timedelta(hours=1)) == [4]
    assert found("overdue", 2 * DAY) == [4, 1], "2 was followed up"
    assert found("all") == [4, 3, 2, 1]


def test_what_an_automatic_ticket_lacks_is_shown_and_asking_for_it_is_ready(house: House) -> None:
    house.take(missing=("the practice's name", "the claim number"))
    draft = house.do(lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.QUESTION))
    assert house.show(1)["missing"] == ["the practice's name", "the claim number"]
    assert "the claim number" in draft.text and draft.problems == ()


def test_each_association_says_whether_it_shows_on_that_timeline(house: House) -> None:
    shown = enter(house, email="dana@lakeside.example", on_contact_timeline=False, on_company_timeline=False)
    assert [one["on_timeline"] for one in shown["contacts"]] == [False]
    assert house.ticket(1).on_company_timeline is False


def test_somebody_who_has_left_owns_nothing_new(house: House) -> None:
    from tickets import reassignment

    house.database.transaction(
        lambda s: reassignment.deactivate(s, house.person(s, "Ben"), house.person(s, "Mara"), "Has left", NOW) and None
    )
    assert house.take(email="kim@hilltop.example")["owner"] == "Cleo"
    with pytest.raises(RefusedError, match=r"not active|no longer active"):
        enter(house)
