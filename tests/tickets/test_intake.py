"""Intake: from submissions to tickets, companies, contacts, threads, files and facts, in one transaction."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from accounts.models import Contact
from core import blobs
from core.blobs import Blob
from core.reasons import Reason
from outbox.facts import TicketAssigned, TicketCreated
from outbox.models import OutboxFact
from tests.tickets.world import NOW, World, matter, secure
from tickets import intake
from tickets.models import Activity, Attachment, FollowUp, Ticket, TicketContact, TicketThread
from tickets.submission import Source, Submission, SubmittedFile

HEAD = "secure_message:"


def file(name: str, content: bytes) -> SubmittedFile:
    return SubmittedFile(name, "application/pdf", "application/pdf", len(content), blobs.digest(content), False, content)


def test_a_mail_becomes_a_ticket_in_stage_one_with_its_message(world: World) -> None:
    shown = world.take(item_id=77)
    assert (shown["number"], shown["stage"], shown["source"]) == ("BS-000001", "1-Submitted", "email")
    assert (shown["name"], shown["description"]) == ("Claim denied", "Claim 4711 was denied.")
    assert shown["type"] == "Billing Issue"
    assert shown["pipeline"] == "Service Pipeline 2 [Blitz/FTE, Billing Support, WC/Auto]"
    assert shown["creation_notice"] == "pending"
    message, assignment = shown["timeline"]
    assert (message["kind"], message["actor"], message["title"]) == ("message_in", "dana@lakeside.example", "Claim denied")
    assert message["item"] == 77
    assert [reason["code"] for reason in message["reasons"]] == ["person_wrote", "company_unknown"]
    assert (assignment["kind"], assignment["title"]) == ("assignment", "Unassigned")


def test_nothing_received_is_nothing_done(world: World) -> None:
    assert world.receive() == []
    assert world.count(Ticket) == world.count(OutboxFact) == 0


def test_results_come_in_the_order_given_with_rising_numbers(world: World) -> None:
    results = world.receive(*(matter(subject=f"Claim {number}") for number in range(150)))
    assert [result.ticket_id for result in results] == list(range(1, 151))
    assert [ticket.name for ticket in world.rows(Ticket, Ticket.id)] == [f"Claim {number}" for number in range(150)]
    messages = [row for row in world.rows(Activity, Activity.id) if row.kind == "message_in"]
    assert all(row.title == f"Claim {row.ticket_id - 1}" for row in messages)


def test_every_ticket_has_its_activities_facts_and_due_times(world: World) -> None:
    owner = world.staff("Ada")
    world.company("Lakeside", "lakeside.example", consultant_id=owner)
    (received,) = world.receive(matter())
    ticket = world.ticket(received.ticket_id)
    assert (ticket.opened_at, ticket.created_at, ticket.opening, ticket.version) == (NOW, NOW, 1, 1)
    assert ticket.reminder_due_at == NOW + timedelta(days=2)
    assert ticket.escalation_due_at == NOW + timedelta(days=3)
    created, assigned = world.facts()
    assert created == TicketCreated(1, True)
    assignment = next(row for row in world.rows(Activity, Activity.id) if row.kind == "assignment")
    assert assigned == TicketAssigned(1, owner, assignment.id, "Ada is the operations consultant of Lakeside")


def test_an_unassigned_ticket_has_no_assignment_fact(world: World) -> None:
    world.take()
    assert world.facts() == [TicketCreated(1, True)]


def test_business_days_of_the_calendar_hold_for_the_due_times(world: World) -> None:
    world.configure(calendar={"days": "business", "holidays": ["2026-11-26"], "reminder_days": 3, "escalation_days": 4})
    ticket = world.ticket(world.receive(matter())[0].ticket_id)
    assert ticket.reminder_due_at == NOW + timedelta(days=4)
    assert ticket.escalation_due_at == NOW + timedelta(days=7)


def test_the_facts_carry_no_text_of_the_message(world: World) -> None:
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Ada"))
    world.take(subject="canary subject", text="canary text", name="Canary Name")
    payloads = [str(row.payload) for row in world.rows(OutboxFact)]
    assert len(payloads) == 2 and not any("canary" in payload.lower() for payload in payloads)


SILENT = Reason("auto_submitted", "An automatic mail")


@pytest.mark.parametrize(
    ("values", "code"), [({"silence": SILENT}, "auto_submitted"), ({"email": None}, "no_address"),
                         ({"email": None, "name": "", "phone": ""}, "no_address")],
)  # fmt: skip
def test_who_may_not_be_told_gets_a_fact_that_says_why(world: World, values: dict[str, Any], code: str) -> None:
    world.take(**values)
    (created,) = world.facts()
    assert isinstance(created, TicketCreated)
    assert (created.answer, created.refusal_code) == (False, code)
    assert created.refusal_text


def test_what_was_left_out_is_listed(world: World) -> None:
    shown = world.take(missing=("the form gives no details",))
    assert shown["missing"] == ["the form gives no details", "the company is not known"]
    world.company("Lakeside", "lakeside.example")
    assert world.take()["missing"] == []


@pytest.mark.parametrize("verified", [True, False, None])
def test_whether_the_sender_was_verified_stays_with_the_ticket(world: World, verified: bool | None) -> None:
    assert world.take(verified=verified)["sender_verified"] is verified


def test_the_link_and_the_choices_of_a_form_are_kept(world: World) -> None:
    link = "https://forms.example/submission/1"
    shown = world.take(
        source=Source.FORMSTACK, link=link, category="Claims", issue="Denials", issue_detail="CO-97", preferred_contact="phone"
    )
    assert shown["link"] == link
    chosen = [shown[key] for key in ("category", "issue", "issue_detail", "preferred_contact")]
    assert chosen == ["Claims", "Denials", "CO-97", "phone"]


def test_a_number_is_not_given_out_again_after_a_ticket_was_purged(world: World) -> None:
    first = world.receive(matter())[0].ticket_id

    def purge(session: Session) -> None:
        for table in (TicketContact, Activity, Ticket):
            session.execute(delete(table))

    world.database.run(purge)
    assert world.receive(matter())[0].ticket_id == first + 1


def test_all_or_nothing(world: World) -> None:
    def fails(session: Session) -> None:
        intake.receive(session, [matter(files=(file("a.pdf", b"a"),))], world.settings, NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        world.database.run(fails)
    assert [world.count(table) for table in (Ticket, Activity, Contact, Attachment, Blob, OutboxFact)] == [0] * 6


# Companies


def test_the_company_is_the_one_on_record_before_any_other(world: World) -> None:
    hill = world.company("Hill", "lakeside.example")
    lakeside = world.company("Lakeside", account_number="A-1")
    world.contact("dana@lakeside.example", lakeside)
    world.take(company="Hill")
    assert world.ticket(1).company_id == lakeside != hill


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"email": "new@lakeside.example"}, "company_by_domain"),
        ({"email": "dana@gmail.com", "company": "LAKESIDE Family Medicine, Inc."}, "company_by_name"),
        ({"email": "dana@gmail.com", "account_number": "A-1"}, "company_by_account"),
    ],
)
def test_the_company_is_found_by_account_name_or_domain(world: World, values: dict[str, Any], code: str) -> None:
    world.company("Lakeside Family Medicine", "lakeside.example", account_number="A-1")
    shown = world.take(**values)
    assert shown["company"] == "Lakeside Family Medicine"
    assert shown["timeline"][0]["reasons"][-1]["code"] == code


def test_a_public_mail_domain_names_no_company_even_if_one_claims_it(world: World) -> None:
    world.company("Lakeside", "gmail.com", "provider.example")
    world.configure(routing={"public_domains": ["Provider.example"]})
    assert world.take(email="dana@gmail.com")["company"] is None
    assert world.take(email="dana@provider.example")["company"] is None
    assert world.take(secure(email="sam@provider.example"))["company"] is None
    assert {contact.company_id for contact in world.rows(Contact)} == {None}


# Contacts


def test_a_new_sender_becomes_a_contact_and_the_requester(world: World) -> None:
    lakeside = world.company("Lakeside", "lakeside.example")
    shown = world.take(phone="555-0100")
    (contact,) = world.rows(Contact)
    assert (contact.email, contact.name, contact.phone) == ("dana@lakeside.example", "Dana Reyes", "555-0100")
    assert contact.company_id == lakeside
    assert world.ticket(1).requester_id == contact.id
    assert [(one["email"], one["role"]) for one in shown["contacts"]] == [("dana@lakeside.example", "requester")]


def test_a_known_sender_stays_as_they_are(world: World) -> None:
    known = world.contact("dana@lakeside.example", name="Dr. Dana Reyes", phone="1")
    world.take(name="somebody else", phone="2")
    (contact,) = world.rows(Contact)
    assert (contact.id, contact.name, contact.phone) == (known, "Dr. Dana Reyes", "1")


def test_the_same_new_address_twice_in_a_batch_is_one_contact(world: World) -> None:
    world.receive(matter(), matter(subject="And another"), matter(email="sam@lakeside.example", name="Sam"))
    assert [contact.name for contact in world.rows(Contact, Contact.id)] == ["Dana Reyes", "Sam"]
    requesters = [ticket.requester_id for ticket in world.rows(Ticket, Ticket.id)]
    assert requesters[0] == requesters[1] != requesters[2]


def test_somebody_without_an_address_is_a_contact_of_their_own(world: World) -> None:
    lakeside = world.company("Lakeside Family Medicine")
    world.receive(
        secure(email=None, name="Front Desk", company="Lakeside Family Medicine"),
        matter(),
        secure(email=None, name="", phone="555-0100", company="Lakeside Family Medicine"),
    )
    first, _, third = [world.show(number)["requester"] for number in (1, 2, 3)]
    assert first == "Front Desk" and third is None
    desk, caller = [contact for contact in world.rows(Contact, Contact.id) if contact.email is None]
    assert (desk.company_id, caller.company_id, caller.phone) == (lakeside, lakeside, "555-0100")
    assert world.ticket(3).requester_id == caller.id


def test_nobody_at_all_leaves_the_requester_open(world: World) -> None:
    shown = world.take(email=None, name="", phone="")
    assert shown["requester"] is None and shown["contacts"] == []
    assert world.count(Contact) == 0


def test_a_form_never_puts_a_contact_on_record_with_the_company_it_names(world: World) -> None:
    world.company("Lakeside", account_number="A-1")
    named = {"email": "stranger@gmail.com", "company": "Lakeside", "account_number": "A-1"}
    shown = world.take(source=Source.FORMSTACK, **named)
    assert shown["company"] == "Lakeside", "the ticket is filed where the form says"
    assert world.rows(Contact)[0].company_id is None
    world.take(source=Source.EMAIL, **{**named, "email": "other@gmail.com"})
    assert {contact.company_id for contact in world.rows(Contact)} == {None}


@pytest.mark.parametrize("source", [Source.SECURE_MESSAGE, Source.PHONE, Source.PORTAL])
def test_a_source_with_authority_puts_a_new_contact_on_record(world: World, source: Source) -> None:
    lakeside = world.company("Lakeside")
    world.take(source=source, email="new@gmail.com", company="Lakeside")
    assert world.rows(Contact)[0].company_id == lakeside


# Assignment over a batch


def test_each_assignment_of_a_batch_sees_the_loads_of_those_before(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben", capacity=3)
    world.team("billing", ada, ben, default=True)
    world.open_tickets(ada, 2)
    world.receive(*(matter(subject=str(number)) for number in range(6)))
    owners = [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id) if ticket.name != "earlier"]
    # Ben 1, 2; then level with Ada, who was longer without; Ben is full with three.
    assert owners == [ben, ben, ada, ben, ada, ada]


def test_the_next_batch_sees_the_loads_and_the_order_of_the_last_one(world: World) -> None:
    people = [world.staff(name) for name in ("Ada", "Ben", "Cleo")]
    world.team("billing", *people, default=True)
    world.receive(matter(), matter(), matter())
    world.receive(*(matter() for _ in range(3)), now=NOW + timedelta(minutes=1))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == people * 2


def test_completed_tickets_are_no_load(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben")
    world.team("billing", ada, ben, default=True)
    world.open_tickets(ada, 5, stage=6)
    world.open_tickets(ben, 1, stage=5)
    world.receive(matter())
    assert world.rows(Ticket, Ticket.id)[-1].owner_id == ada


def test_when_all_are_full_the_rest_waits_unassigned(world: World) -> None:
    world.team("billing", world.staff("Ada", capacity=2), default=True)
    world.receive(*(matter() for _ in range(4)))
    owners = [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)]
    assert [owner is None for owner in owners] == [False, False, True, True]
    assert world.steps(4) == ["no_consultant", "no_routing_rule", "team_full_or_away", "nobody"]


def test_the_steps_of_an_assignment_are_on_the_timeline_with_their_reasons(world: World) -> None:
    ada, ben, cleo = world.staff("Ada"), world.staff("Ben"), world.staff("Cleo")
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Dov", stand_in_id=ada, active=False))
    world.away(ada, NOW - timedelta(hours=1), NOW + timedelta(days=1))
    world.team("billing", ben, cleo, default=True)
    world.open_tickets(ben, 1)
    (received,) = world.receive(matter())
    expected = ["consultant_unavailable", "stand_in_unavailable", "no_routing_rule", "least_loaded"]
    assert world.steps(received.ticket_id) == expected
    shown = world.show(received.ticket_id)["timeline"][1]
    assert [reason["code"] for reason in shown["reasons"]] == expected
    assert (shown["title"], shown["body"]) == ("Assigned to Cleo", "Cleo has the fewest open tickets in Billing (0)")


def test_the_stand_in_gets_it_while_the_consultant_is_away_and_not_afterwards(world: World) -> None:
    ada = world.staff("Ada")
    dov = world.staff("Dov", stand_in_id=ada)
    world.away(dov, NOW, NOW + timedelta(days=1))
    world.company("Lakeside", "lakeside.example", consultant_id=dov)
    world.receive(matter())
    world.receive(matter(), now=NOW + timedelta(days=1))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ada, dov]


def test_rules_of_the_configuration_reach_persons_and_teams(world: World) -> None:
    ada, ben, cleo = world.staff("Ada"), world.staff("Ben"), world.staff("Cleo")
    world.team("denials", ben)
    world.team("billing", cleo, default=True)
    rules = [
        {"source": "formstack", "category": "Enrollment", "person": "Ada@billing.example"},
        {"keyword": "denied", "team": "denials"},
        {"sender_domain": "hill.example", "person": "ada@billing.example"},
    ]
    world.configure(routing={"rules": rules})
    world.receive(
        matter(source=Source.FORMSTACK, category="enrollment"),
        matter(),
        matter(subject="x", text="y", email="sam@hill.example"),
        matter(subject="x", text="y"),
    )
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ada, ben, ada, cleo]


def test_two_batches_at_once_do_not_overfill_anybody(world: World) -> None:
    world.team("billing", world.staff("Ada", capacity=5), world.staff("Ben", capacity=5), default=True)
    gate = threading.Barrier(4)

    def run(number: int) -> None:
        gate.wait()
        world.receive(*(matter(email=f"p{number}.{one}@lakeside.example") for one in range(4)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owners = [ticket.owner_id for ticket in world.rows(Ticket)]
    assert sorted(owners.count(owner) for owner in set(owners) - {None}) == [5, 5]
    assert owners.count(None) == 6


def test_a_batch_of_a_hundred_takes_no_more_statements_than_one_of_two(world: World) -> None:
    world.team("billing", world.staff("Ada"), default=True)
    statements: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2].split("(")[0]))

    def count(*submissions: Submission) -> int:
        statements.clear()
        world.receive(*submissions)
        return len(statements)

    def one(number: int) -> Submission:
        return matter(email=f"p{number}@d{number}.example", files=(file("a", str(number).encode()),))

    few, many = count(*map(one, range(2))), count(*map(one, range(2, 102)))
    assert many <= few + 2


# Telemedicine


@pytest.mark.parametrize(
    ("company", "values", "code"),
    [
        ({"telemedicine": True}, {}, "telemedicine_company"),
        ({}, {"category": "telemedicine"}, "telemedicine_category"),
        ({}, {"text": "The video visit of yesterday"}, "telemedicine_keyword"),
        ({}, {"subject": "TELEHEALTH claim"}, "telemedicine_keyword"),
    ],
)
def test_telemedicine_raises_a_task_and_the_owner_stays(
    world: World, company: dict[str, Any], values: dict[str, Any], code: str
) -> None:
    ada, jo = world.staff("Ada"), world.staff("Jo")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, **company)
    world.configure(routing={"telemedicine": {"person": "jo@billing.example"}})
    shown = world.take(**values)
    assert shown["owner"] == "Ada"
    (task,) = world.rows(FollowUp)
    assert (task.kind, task.assignee_id, task.team_id, task.key) == ("assist", jo, None, "telemedicine:1")
    assert shown["tasks"][0]["assignee"] == "Jo"
    assert code in ("telemedicine_company", "telemedicine_category", "telemedicine_keyword") and task.reason


def test_without_telemedicine_there_is_no_task(world: World) -> None:
    world.company("Lakeside", "lakeside.example")
    assert world.take()["tasks"] == []


def test_the_telemedicine_task_may_go_to_a_team_or_to_the_default_teams_manager(world: World) -> None:
    jo = world.staff("Jo")
    default = world.team("billing", default=True, manager=jo)
    onboarding = world.team("onboarding", jo)
    world.configure(routing={"telemedicine": {"team": "onboarding"}})
    world.take(text="telemedicine")
    world.configure(routing={})
    world.take(text="telemedicine")
    first, second = world.rows(FollowUp, FollowUp.id)
    assert (first.assignee_id, first.team_id) == (None, onboarding)
    assert (second.assignee_id, second.team_id) == (jo, default)


# Threads of secure messages


def test_messages_of_a_thread_in_one_batch_are_one_ticket(world: World) -> None:
    lakeside = world.company("Lakeside")
    one, two, three = (
        secure(subject=subject, company="Lakeside", email="dana@gmail.com", thread_key=HEAD + thread, item_id=number)
        for number, (subject, thread) in enumerate([("First", "7"), ("Second", "7"), ("Other", "8")], 1)
    )
    results = world.receive(one, two, three)
    assert [result.ticket_id for result in results] == [1, 1, 2]
    assert [result.appended for result in results] == [False, True, False]
    assert results[1].reason.code == "thread_known"
    messages = [entry for entry in world.show(1)["timeline"] if entry["kind"] == "message_in"]
    assert [(entry["title"], entry["item"]) for entry in messages] == [("First", 1), ("Second", 2)]
    assert world.ticket(1).version == 2 and world.ticket(1).company_id == lakeside
    assert len([fact for fact in world.facts() if isinstance(fact, TicketCreated)]) == 2


def test_a_later_message_of_a_thread_is_added_to_its_ticket(world: World) -> None:
    world.company("Lakeside")
    world.take(secure(company="Lakeside", thread_key=HEAD + "7"))
    later = NOW + timedelta(hours=1)
    (result,) = world.receive(
        secure(subject="More", company="Lakeside", thread_key=HEAD + "7", files=(file("a.pdf", b"a"),)), now=later
    )
    assert (result.ticket_id, result.appended) == (1, True)
    shown = world.show(1)
    assert [entry["title"] for entry in shown["timeline"] if entry["kind"] == "message_in"] == ["Claim denied", "More"]
    assert [one["name"] for one in shown["attachments"]] == ["a.pdf"]
    assert (world.ticket(1).version, world.ticket(1).updated_at) == (2, later)
    assert world.count(Ticket) == world.count(TicketThread) == 1


def test_somebody_else_of_the_same_company_joins_the_ticket(world: World) -> None:
    world.company("Lakeside")
    world.take(secure(company="Lakeside", email="dana@gmail.com", thread_key=HEAD + "7"))
    (result,) = world.receive(secure(company="Lakeside", email="sam@gmail.com", name="Sam", thread_key=HEAD + "7"))
    assert result.appended
    people = {one["email"]: one["role"] for one in world.show(1)["contacts"]}
    assert people == {"dana@gmail.com": "requester", "sam@gmail.com": "participant"}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_a_stranger_who_names_a_thread_gets_a_ticket_of_their_own(world: World, together: bool) -> None:
    world.company("Lakeside")
    world.company("Hill")
    first = secure(company="Lakeside", email="dana@gmail.com", thread_key=HEAD + "7")
    strangers = [
        secure(company="Hill", email="mallory@gmail.com", thread_key=HEAD + "7"),
        secure(company="", email="nobody@gmail.com", thread_key=HEAD + "7"),
        secure(company="", email=None, name="", thread_key=HEAD + "7"),
    ]
    results = world.receive(first, *strangers) if together else world.receive(first) + world.receive(*strangers)
    assert [result.ticket_id for result in results] == [1, 2, 3, 4]
    assert not any(result.appended for result in results)
    assert len(world.show(1)["timeline"]) == 2
    (thread,) = world.rows(TicketThread)
    assert thread.ticket_id == 1


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_two_without_any_company_are_not_of_the_same_company(world: World, together: bool) -> None:
    one = secure(email="dana@gmail.com", thread_key=HEAD + "7")
    other = secure(email="mallory@gmail.com", thread_key=HEAD + "7")
    results = world.receive(one, other) if together else world.receive(one) + world.receive(other)
    assert [result.appended for result in results] == [False, False]
    (again,) = world.receive(one)
    assert (again.ticket_id, again.appended) == (1, True)


def test_a_message_without_a_thread_is_a_ticket_of_its_own(world: World) -> None:
    results = world.receive(secure(thread_key=None), secure(thread_key=None), secure(thread_key=None))
    assert [result.ticket_id for result in results] == [1, 2, 3]


# Replies to our own mail


def test_the_timeline_holds_what_is_new_and_the_rest_beside_it(world: World) -> None:
    shown = world.take(text="It is paid.", quoted="> Is it\x00 paid?", signature="-- \nDana")
    (message, _) = shown["timeline"]
    assert (shown["description"], message["body"]) == ("It is paid.", "It is paid.")
    assert (message["quoted"], message["signature"]) == ("> Is it\N{REPLACEMENT CHARACTER} paid?", "-- \nDana")


def test_a_reply_from_one_of_its_people_is_added_to_the_ticket_it_answers(world: World) -> None:
    world.take()
    (result,) = world.receive(matter(subject="Re: [BS-000001] received", text="One more thing", replies_to=1))
    assert (result.ticket_id, result.appended, result.reason.code) == (1, True, "reply_to_notice")
    assert [entry["body"] for entry in world.show(1)["timeline"] if entry["kind"] == "message_in"][1] == "One more thing"
    assert world.count(Ticket) == 1
    assert len([fact for fact in world.facts() if isinstance(fact, TicketCreated)]) == 1, "no second creation notice"


@pytest.mark.parametrize("email", ["mallory@gmail.com", "boss@lakeside.example", None])
def test_a_reply_from_anybody_else_is_a_ticket_of_its_own(world: World, email: str | None) -> None:
    world.company("Lakeside", "lakeside.example")
    world.take()
    (result,) = world.receive(matter(email=email, replies_to=1))
    assert (result.ticket_id, result.appended) == (2, False)


def test_a_reply_to_a_ticket_that_does_not_exist_is_a_ticket_of_its_own(world: World) -> None:
    (result,) = world.receive(matter(replies_to=4711))
    assert (result.ticket_id, result.appended) == (1, False)


# Files


def test_a_file_is_stored_once_and_hangs_on_each_of_its_tickets(world: World) -> None:
    world.receive(
        matter(files=(file("era.pdf", b"same"), file("other.pdf", b"other"))),
        matter(files=(file("copy.pdf", b"same"),)),
        matter(files=()),
    )
    world.receive(matter(files=(file("late.pdf", b"same"),)))
    assert world.count(Blob) == 2 and world.count(Attachment) == 4
    assert [one["name"] for one in world.show(1)["attachments"]] == ["era.pdf", "other.pdf"]
    assert world.show(3)["attachments"] == []
    with world.database.read() as session:
        late = session.execute(select(Attachment).where(Attachment.name == "late.pdf")).scalar_one()
        assert blobs.get(session, late.sha256) == b"same"
        message = session.get(Activity, late.activity_id)
    assert message is not None and (message.ticket_id, message.kind) == (4, "message_in")


# Tickets by hand


def by_hand(**values: Any) -> Submission:
    base = matter(source=Source.PHONE, subject="Asked about ERA", owner_email="ben@billing.example", company="Lakeside")
    return replace(base, **values)


def test_a_ticket_by_hand_is_owned_by_its_creator_and_named_after_the_company(world: World) -> None:
    ada, _ben = world.staff("Ada"), world.staff("Ben", active=True)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    shown = world.take(by_hand())
    assert (shown["name"], shown["owner"], shown["stage"]) == ("Support – Lakeside", "Ben", "1-Submitted")
    assert (shown["source"], shown["type"]) == ("phone", "Billing Issue")
    assert world.steps(1) == ["created_by_hand"]
    assert [type(fact) for fact in world.facts()] == [TicketCreated, TicketAssigned]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"company": "Unheard Of Clinic"}, "Support – Unheard Of Clinic"),
        ({"company": "", "name": "Dana Reyes"}, "Support – Dana Reyes"),
        ({"company": "", "name": "", "email": "dana@gmail.com"}, "Support – dana@gmail.com"),
        ({"company": "", "name": "", "email": None, "phone": "1"}, "Support – unknown customer"),
    ],
)
def test_a_ticket_by_hand_without_a_known_company_is_named_after_who_called(
    world: World, values: dict[str, Any], name: str
) -> None:
    world.staff("Ben")
    assert world.take(by_hand(**values))["name"] == name


def test_a_ticket_by_hand_has_exactly_one_requester_and_further_contacts(world: World) -> None:
    world.staff("Ben")
    lakeside = world.company("Lakeside")
    sam = world.contact("sam@lakeside.example", lakeside, name="Sam")
    contacts = ("sam@lakeside.example", "new@lakeside.example", "dana@lakeside.example")
    shown = world.take(by_hand(contacts=contacts))
    roles = {one["email"]: one["role"] for one in shown["contacts"]}
    assert roles == {
        "dana@lakeside.example": "requester",
        "sam@lakeside.example": "participant",
        "new@lakeside.example": "participant",
    }
    assert world.ticket(1).company_id == lakeside
    assert sam in {contact.id for contact in world.rows(Contact)}


@pytest.mark.parametrize("company", [True, False])
@pytest.mark.parametrize("contact", [True, False])
def test_whether_activity_shows_on_their_timelines_is_kept(world: World, company: bool, contact: bool) -> None:
    world.staff("Ben")
    shown = world.take(by_hand(on_company_timeline=company, on_contact_timeline=contact))
    assert world.ticket(1).on_company_timeline is company
    assert shown["contacts"][0]["on_timeline"] is contact


def test_a_ticket_by_hand_counts_as_load_of_its_creator(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben")
    world.team("billing", ben, ada, default=True)
    world.receive(by_hand(), matter(source=Source.EMAIL))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ben, ada]
