"""Owner, requester, fields and saved views of a ticket, as domain.md, Tickets, describes them after the table of stages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.errors import RefusedError
from tests.domain.conftest import DAY, HelpDesk
from tests.tickets.world import NOW, dana_mail
from tickets import follow_ups, lifecycle, queries, staff_messages
from tickets.manual_entry import ManualEntry, create, to_submission
from tickets.stages import STAGE_NAMES

OUT = (NOW - DAY, NOW + DAY)


def test_companys_consultant_comes_first(helpdesk: HelpDesk) -> None:
    assert helpdesk.receive_one()["owner"] == "Ada"
    assert helpdesk.steps(1) == ["consultant"]


def test_stand_in_of_an_absent_consultant_comes_second(helpdesk: HelpDesk) -> None:
    substitute = helpdesk.staff("Sam")
    owner = helpdesk.staff("Olga", stand_in_id=substitute)
    helpdesk.company("Meadow", "meadow.example", consultant_id=owner)
    helpdesk.away(owner, *OUT)
    assert helpdesk.receive_one(email="kim@meadow.example")["owner"] == "Sam"


@pytest.mark.parametrize("rule", [
    {"source": "email"}, {"keyword": "denied"}, {"sender_domain": "hilltop.example"}, {"category": "claims"},
])  # fmt: skip
def test_routing_rules_come_after_consultant_and_stand_in(helpdesk: HelpDesk, rule: dict[str, str]) -> None:
    helpdesk.configure(routing={"rules": [{**rule, "person": "max@billing.example"}]})
    assert helpdesk.receive_one(email="kim@hilltop.example", category="Claims")["owner"] == "Max"


def test_least_loaded_available_member_of_the_default_team_comes_last(helpdesk: HelpDesk) -> None:
    helpdesk.open_tickets(helpdesk.ids["Ben"], 3)
    assert helpdesk.receive_one(email="kim@hilltop.example")["owner"] == "Cleo"
    assert helpdesk.steps(4)[-1] == "least_loaded"


def test_a_tie_goes_to_the_one_longest_without_an_assignment(helpdesk: HelpDesk) -> None:
    owners = [helpdesk.receive_one(email="kim@hilltop.example", now=NOW + timedelta(minutes=one))["owner"] for one in range(4)]
    assert owners == ["Ben", "Cleo", "Ben", "Cleo"]


def test_ticket_without_an_available_person_is_in_the_unassigned_view(helpdesk: HelpDesk) -> None:
    for name in ("Ben", "Cleo"):
        helpdesk.away(helpdesk.ids[name], *OUT)
    ticket = helpdesk.receive_one(email="kim@hilltop.example")
    assert ticket["owner"] is None
    assert [row["number"] for row in helpdesk.listed("unassigned")] == [ticket["number"]]
    assert helpdesk.steps(1)[-1] == "nobody"


def enter(helpdesk: HelpDesk, **given: Any) -> dict[str, Any]:
    fields = {"owner": "ben@billing.example", "company": "Lakeside", "email": "", "name": "Lee Moss", "phone": "555 0100",
              "description": "They called"} | given  # fmt: skip
    submission = to_submission(ManualEntry(**fields), NOW)
    ticket_id = helpdesk.database.transaction(lambda session: create(session, submission, helpdesk.settings, NOW))
    return helpdesk.show(ticket_id)


def test_ticket_entered_by_hand_is_owned_by_its_creator_and_named_after_the_company(helpdesk: HelpDesk) -> None:
    ticket = enter(helpdesk)
    assert (ticket["owner"], ticket["name"], ticket["source"]) == ("Ben", "Support – Lakeside", "phone")
    assert helpdesk.steps(1) == ["created_by_hand"]


def test_pipeline_and_type_are_the_configured_defaults(helpdesk: HelpDesk) -> None:
    ticket = helpdesk.receive_one()
    assert ticket["pipeline"] == "Service Pipeline 2 [Blitz/FTE, Billing Support, WC/Auto]"
    assert ticket["type"] == "Billing Issue"
    assert list(STAGE_NAMES.values()) == ["1-Submitted", "4-In Progress", "5-Audit", "6-Completed"]


def test_a_ticket_has_exactly_one_requester_among_its_contacts(helpdesk: HelpDesk) -> None:
    ticket = helpdesk.receive_one(contacts=("kim@lakeside.example", "dana@lakeside.example"))
    roles = {one["email"]: one["role"] for one in ticket["contacts"]}
    assert list(roles.values()).count("requester") == 1
    assert roles["dana@lakeside.example"] == "requester" and len(roles) == 2


def test_owner_is_notified_and_reassigns_only_by_a_recorded_act(helpdesk: HelpDesk) -> None:
    helpdesk.receive_one()
    helpdesk.relay()
    assert helpdesk.mails("ticket_assigned") == ["ada@billing.example"]

    def give(s, one, by, now):  # type: ignore[no-untyped-def]
        lifecycle.assign(s, one, helpdesk.person(s, "Ben"), by, "Knows the payer", now)

    helpdesk.act(give)
    helpdesk.relay()
    last = helpdesk.show(1)["timeline"][-1]
    assert (last["kind"], last["title"], last["body"]) == ("assignment", "Assigned to Ben", "Knows the payer")
    assert helpdesk.mails("ticket_assigned") == ["ada@billing.example", "ben@billing.example"]


def test_the_owner_stays_the_owner_through_completion(helpdesk: HelpDesk) -> None:
    helpdesk.receive_one()
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        helpdesk.act(verb, by="Cleo")
    assert helpdesk.show(1)["owner"] == "Ada"


@pytest.mark.parametrize("by", ["setting", "category", "keyword"])
def test_telemedicine_leaves_the_owner_and_raises_an_assist_task(helpdesk: HelpDesk, by: str) -> None:
    helpdesk.configure(routing={"telemedicine": {
        "person": "cleo@billing.example", "categories": ["Telemedicine"], "keywords": ["video visit"],
    }})  # fmt: skip
    helpdesk.company("Remote", "remote.example", consultant_id=helpdesk.ids["Ada"], telemedicine=by == "setting")
    given = {"category": "Telemedicine"} if by == "category" else {"text": "The video visit failed"} if by == "keyword" else {}
    ticket = helpdesk.receive_one(email="kim@remote.example", **given)
    assert (ticket["owner"], [(one["kind"], one["assignee"]) for one in ticket["tasks"]]) == ("Ada", [("assist", "Cleo")])


def test_the_company_is_the_one_on_record_before_the_one_of_the_domain(helpdesk: HelpDesk) -> None:
    hilltop = helpdesk.company("Third", "third.example")
    helpdesk.contact("dana@lakeside.example", hilltop)
    assert helpdesk.receive_one()["company"] == "Third"


def test_mail_domain_gives_the_company_and_public_domains_give_none(helpdesk: HelpDesk) -> None:
    assert helpdesk.receive_one()["company"] == "Lakeside"
    helpdesk.company("Tricky", "gmail.com")
    assert helpdesk.receive_one(email="kim@gmail.com")["company"] is None
    assert helpdesk.receive_one(email="kim@unknown.example")["company"] is None


def test_open_and_unassigned_tickets_share_a_view_and_are_distinguishable(helpdesk: HelpDesk) -> None:
    for name in ("Ben", "Cleo"):
        helpdesk.away(helpdesk.ids[name], *OUT)
    helpdesk.receive_one()
    helpdesk.receive_one(email="kim@hilltop.example")
    assert queries.VIEWS["unassigned"][0] == "PMB Support Unassigned/Open Tickets"
    assert [row["owner"] for row in helpdesk.listed("unassigned")] == [None, "Ada"]


def test_saved_views_hold_their_tickets(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail(), dana_mail(), dana_mail(), dana_mail())
    helpdesk.act(lifecycle.mark_follow_up_sent, ticket=2)
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        helpdesk.act(verb, ticket=3)
    late = NOW + timedelta(minutes=1)
    helpdesk.act(lambda s, one, by, now: follow_ups.add_task(s, one, "Call", late, by, now) and None, ticket=4)

    def found(view: str, at: timedelta = timedelta(0), by: str = "Ada") -> list[int]:
        with helpdesk.database.read() as session:
            rows = queries.list_tickets(session, view, NOW + at, person_id=helpdesk.ids[by])
        return [int(row["number"][3:]) for row in rows]

    assert found("open") == found("mine") == [4, 2, 1]
    assert found("mine", by="Ben") == []
    assert found("audit") == [2]
    assert found("completed") == [3]
    assert found("today") == [4]
    assert found("overdue") == [] and found("overdue", timedelta(hours=1)) == [4]
    assert found("overdue", 2 * DAY) == [4, 1], "2 was followed up"
    assert found("all") == [4, 3, 2, 1]


def test_missing_fields_are_shown_with_a_ready_request_for_information(helpdesk: HelpDesk) -> None:
    helpdesk.receive_one(missing=("the practice's name", "the claim number"))
    draft = helpdesk.act(lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.QUESTION))
    assert helpdesk.show(1)["missing"] == ["the practice's name", "the claim number"]
    assert "the claim number" in draft.text and draft.problems == ()


def test_each_association_says_whether_it_shows_on_that_timeline(helpdesk: HelpDesk) -> None:
    shown = enter(helpdesk, email="dana@lakeside.example", on_contact_timeline=False, on_company_timeline=False)
    assert [one["on_timeline"] for one in shown["contacts"]] == [False]
    assert helpdesk.ticket(1).on_company_timeline is False


def test_inactive_person_gets_no_new_ticket(helpdesk: HelpDesk) -> None:
    from tickets import reassignment

    helpdesk.database.transaction(
        lambda s: reassignment.deactivate(s, helpdesk.person(s, "Ben"), helpdesk.person(s, "Mara"), "Has left", NOW) and None
    )
    assert helpdesk.receive_one(email="kim@hilltop.example")["owner"] == "Cleo"
    with pytest.raises(RefusedError, match=r"not active|no longer active"):
        enter(helpdesk)
