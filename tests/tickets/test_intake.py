"""Intake: from submissions to tickets, companies, contacts, files and facts, in one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from accounts.models import Contact
from core import blobs
from core.blobs import Blob
from core.reasons import Reason
from outbox.facts import TicketAssigned, TicketCreated
from outbox.models import OutboxFact
from tests.tickets.world import NOW, World, dana_mail, file, secure_message
from tickets import intake
from tickets.models import Activity, Attachment, Ticket, TicketContact
from tickets.submission import TicketSource


def test_a_mail_becomes_a_ticket_in_stage_one_with_its_message(world: World) -> None:
    shown = world.receive_one(item_id=77)
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


def test_empty_batch_sends_no_statement(world: World) -> None:
    assert world.receive() == []
    assert world.count(Ticket) == world.count(OutboxFact) == 0


def test_results_come_in_the_order_given_with_rising_numbers(world: World) -> None:
    results = world.receive(*(dana_mail(subject=f"Claim {number}") for number in range(150)))
    assert [result.ticket_id for result in results] == list(range(1, 151))
    assert [ticket.name for ticket in world.rows(Ticket, Ticket.id)] == [f"Claim {number}" for number in range(150)]
    messages = [row for row in world.rows(Activity, Activity.id) if row.kind == "message_in"]
    assert all(row.title == f"Claim {row.ticket_id - 1}" for row in messages)


def test_every_ticket_has_its_activities_facts_and_due_times(world: World) -> None:
    owner = world.staff("Ada")
    world.company("Lakeside", "lakeside.example", consultant_id=owner)
    (received,) = world.receive(dana_mail())
    ticket = world.ticket(received.ticket_id)
    assert (ticket.opened_at, ticket.created_at, ticket.opening, ticket.version) == (NOW, NOW, 1, 1)
    assert ticket.reminder_due_at == NOW + timedelta(days=2)
    assert ticket.escalation_due_at == NOW + timedelta(days=3)
    created, assigned = world.facts()
    assert created == TicketCreated(1, True)
    assignment = next(row for row in world.rows(Activity, Activity.id) if row.kind == "assignment")
    assert assigned == TicketAssigned(1, owner, assignment.id, "Ada is the operations consultant of Lakeside")


def test_an_unassigned_ticket_has_no_assignment_fact(world: World) -> None:
    world.receive_one()
    assert world.facts() == [TicketCreated(1, True)]


def test_due_times_use_the_business_days_of_the_calendar(world: World) -> None:
    world.configure(calendar={"days": "business", "holidays": ["2026-11-26"], "reminder_days": 3, "escalation_days": 4})
    ticket = world.ticket(world.receive(dana_mail())[0].ticket_id)
    assert ticket.reminder_due_at == NOW + timedelta(days=4)
    assert ticket.escalation_due_at == NOW + timedelta(days=7)


def test_the_facts_carry_no_text_of_the_message(world: World) -> None:
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Ada"))
    world.receive_one(subject="canary subject", text="canary text", name="Canary Name")
    payloads = [str(row.payload) for row in world.rows(OutboxFact)]
    assert len(payloads) == 2 and not any("canary" in payload.lower() for payload in payloads)


SILENT = Reason("auto_submitted", "An automatic mail")


@pytest.mark.parametrize(
    ("values", "code"), [({"silence": SILENT}, "auto_submitted"), ({"email": None}, "no_address"),
                         ({"email": None, "name": "", "phone": ""}, "no_address")],
)  # fmt: skip
def test_requester_who_gets_no_notice_is_named_in_the_fact_with_the_reason(
    world: World, values: dict[str, Any], code: str
) -> None:
    world.receive_one(**values)
    (created,) = world.facts()
    assert isinstance(created, TicketCreated)
    assert (created.answer, created.refusal_code) == (False, code)
    assert created.refusal_text


def test_missing_fields_are_listed_on_the_ticket(world: World) -> None:
    shown = world.receive_one(missing=("the form gives no details",))
    assert shown["missing"] == ["the form gives no details", "the company is not known"]
    world.company("Lakeside", "lakeside.example")
    assert world.receive_one()["missing"] == []


@pytest.mark.parametrize("verified", [True, False, None])
def test_whether_the_sender_was_verified_stays_with_the_ticket(world: World, verified: bool | None) -> None:
    assert world.receive_one(verified=verified)["sender_verified"] is verified


def test_link_and_choices_of_a_form_are_stored(world: World) -> None:
    link = "https://forms.example/submission/1"
    shown = world.receive_one(
        source=TicketSource.FORMSTACK,
        link=link,
        category="Claims",
        issue="Denials",
        issue_detail="CO-97",
        preferred_contact="phone",
    )
    assert shown["link"] == link
    chosen = [shown[key] for key in ("category", "issue", "issue_detail", "preferred_contact")]
    assert chosen == ["Claims", "Denials", "CO-97", "phone"]


def test_ticket_number_is_not_reused_after_a_purge(world: World) -> None:
    first = world.receive(dana_mail())[0].ticket_id

    def purge(session: Session) -> None:
        for table in (TicketContact, Activity, Ticket):
            session.execute(delete(table))

    world.database.transaction(purge)
    assert world.receive(dana_mail())[0].ticket_id == first + 1


def test_failing_batch_stores_nothing(world: World) -> None:
    def fails(session: Session) -> None:
        intake.receive(session, [dana_mail(files=(file("a.pdf", b"a"),))], world.settings, NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        world.database.transaction(fails)
    assert [world.count(table) for table in (Ticket, Activity, Contact, Attachment, Blob, OutboxFact)] == [0] * 6


# Companies


def test_the_company_is_the_one_on_record_before_any_other(world: World) -> None:
    hill = world.company("Hill", "lakeside.example")
    lakeside = world.company("Lakeside", account_number="A-1")
    world.contact("dana@lakeside.example", lakeside)
    world.receive_one(company="Hill")
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
    shown = world.receive_one(**values)
    assert shown["company"] == "Lakeside Family Medicine"
    assert shown["timeline"][0]["reasons"][-1]["code"] == code


def test_public_mail_domain_identifies_no_company_even_if_a_company_lists_it(world: World) -> None:
    world.company("Lakeside", "gmail.com", "provider.example")
    world.configure(routing={"public_domains": ["Provider.example"]})
    assert world.receive_one(email="dana@gmail.com")["company"] is None
    assert world.receive_one(email="dana@provider.example")["company"] is None
    assert world.receive_one(secure_message(email="sam@provider.example"))["company"] is None
    assert {contact.company_id for contact in world.rows(Contact)} == {None}


# Contacts


def test_a_new_sender_becomes_a_contact_and_the_requester(world: World) -> None:
    lakeside = world.company("Lakeside", "lakeside.example")
    shown = world.receive_one(phone="555-0100")
    (contact,) = world.rows(Contact)
    assert (contact.email, contact.name, contact.phone) == ("dana@lakeside.example", "Dana Reyes", "555-0100")
    assert contact.company_id == lakeside
    assert world.ticket(1).requester_id == contact.id
    assert [(one["email"], one["role"]) for one in shown["contacts"]] == [("dana@lakeside.example", "requester")]


def test_known_sender_is_not_changed_by_a_mail(world: World) -> None:
    known = world.contact("dana@lakeside.example", name="Dr. Dana Reyes", phone="1")
    world.receive_one(name="somebody else", phone="2")
    (contact,) = world.rows(Contact)
    assert (contact.id, contact.name, contact.phone) == (known, "Dr. Dana Reyes", "1")


def test_the_same_new_address_twice_in_a_batch_is_one_contact(world: World) -> None:
    world.receive(dana_mail(), dana_mail(subject="And another"), dana_mail(email="sam@lakeside.example", name="Sam"))
    assert [contact.name for contact in world.rows(Contact, Contact.id)] == ["Dana Reyes", "Sam"]
    requesters = [ticket.requester_id for ticket in world.rows(Ticket, Ticket.id)]
    assert requesters[0] == requesters[1] != requesters[2]


def test_sender_without_an_address_becomes_a_new_contact_each_time(world: World) -> None:
    lakeside = world.company("Lakeside Family Medicine")
    world.receive(
        secure_message(email=None, name="Front Desk", company="Lakeside Family Medicine"),
        dana_mail(),
        secure_message(email=None, name="", phone="555-0100", company="Lakeside Family Medicine"),
    )
    first, _, third = [world.show(number)["requester"] for number in (1, 2, 3)]
    assert first == "Front Desk" and third is None
    desk, caller = [contact for contact in world.rows(Contact, Contact.id) if contact.email is None]
    assert (desk.company_id, caller.company_id, caller.phone) == (lakeside, lakeside, "555-0100")
    assert world.ticket(3).requester_id == caller.id


def test_submission_without_sender_has_no_requester(world: World) -> None:
    shown = world.receive_one(email=None, name="", phone="")
    assert shown["requester"] is None and shown["contacts"] == []
    assert world.count(Contact) == 0


def test_form_does_not_record_the_company_it_names_for_a_new_contact(world: World) -> None:
    world.company("Lakeside", account_number="A-1")
    named = {"email": "stranger@gmail.com", "company": "Lakeside", "account_number": "A-1"}
    shown = world.receive_one(source=TicketSource.FORMSTACK, **named)
    assert shown["company"] == "Lakeside", "the ticket is filed where the form says"
    assert world.rows(Contact)[0].company_id is None
    world.receive_one(source=TicketSource.EMAIL, **{**named, "email": "other@gmail.com"})
    assert {contact.company_id for contact in world.rows(Contact)} == {None}


@pytest.mark.parametrize("source", [TicketSource.SECURE_MESSAGE, TicketSource.PHONE, TicketSource.PORTAL])
def test_trusted_source_records_the_company_of_a_new_contact(world: World, source: TicketSource) -> None:
    lakeside = world.company("Lakeside")
    world.receive_one(source=source, email="new@gmail.com", company="Lakeside")
    assert world.rows(Contact)[0].company_id == lakeside


# Files


def test_file_is_stored_once_and_attached_to_each_of_its_tickets(world: World) -> None:
    world.receive(
        dana_mail(files=(file("era.pdf", b"same"), file("other.pdf", b"other"))),
        dana_mail(files=(file("copy.pdf", b"same"),)),
        dana_mail(files=()),
    )
    world.receive(dana_mail(files=(file("late.pdf", b"same"),)))
    assert world.count(Blob) == 2 and world.count(Attachment) == 4
    assert [one["name"] for one in world.show(1)["attachments"]] == ["era.pdf", "other.pdf"]
    assert world.show(3)["attachments"] == []
    with world.database.read() as session:
        late = session.execute(select(Attachment).where(Attachment.name == "late.pdf")).scalar_one()
        assert blobs.get(session, late.sha256) == b"same"
        message = session.get(Activity, late.activity_id)
    assert message is not None and (message.ticket_id, message.kind) == (4, "message_in")


def test_files_of_added_messages_are_stored_and_of_unmatched_ones_are_not(world: World) -> None:
    world.receive(dana_mail(message_key="mail:1"))
    joins = dana_mail(answers=("mail:1",), files=(file("more.pdf", b"more"),))
    strays = dana_mail(answers=("mail:2",), files=(file("lost.pdf", b"lost"),))
    results = world.database.transaction(lambda session: intake.add(session, [strays, joins], world.settings, NOW))
    assert [result and result.ticket_id for result in results] == [None, 1]
    assert [one["name"] for one in world.show(1)["attachments"]] == ["more.pdf"]
    assert [blob.content for blob in world.rows(Blob)] == [b"more"]
