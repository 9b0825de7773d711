"""The pages that notices lead to: a case for its customer, a ticket for its owner. Neither shows what was written."""

from __future__ import annotations

import pytest

from core import clock
from core.signing import Signer
from tests.web.conftest import STATUS_TOKEN, Site
from tickets import creation_notice
from tickets.numbers import format_number
from tickets.submission import Submission, TicketSource

CANARY = "zebrafinch procedure"


@pytest.fixture
def ticket_id(site: Site) -> int:
    submission = Submission(
        source=TicketSource.PHONE,
        received_at=clock.now(),
        subject=f"About the {CANARY}",
        text=f"Details of the {CANARY}",
        email="dana@riverside.example",
        name="Dana <b>Ortiz</b>",
        missing=("the phone call gave no claim number",),
    )
    return site.database.transaction(
        lambda session: creation_notice.create_by_hand(session, submission, site.settings, clock.now())
    )


def signed(site: Site, ticket_id: int) -> str:
    return Signer(site.settings.signing_keys(), site.settings.notices.domain).link(f"t{ticket_id}")


def test_a_customer_sees_number_and_status_of_the_case_by_its_signed_address(site: Site, ticket_id: int) -> None:
    answer = site.client.get(f"/care/cases/{signed(site, ticket_id)}")
    assert answer.status_code == 200
    assert format_number(ticket_id) in answer.text
    assert 'class="now" aria-current="step"' in answer.text
    assert CANARY not in answer.text
    assert "Dana" not in answer.text


@pytest.mark.parametrize("path", ["t1", "1", "BS-000001", "t1.aaaaaaaaaaaaaaaaaaaaaaaaaa", "%00", "..%2f..", "x" * 500])
def test_an_address_that_we_did_not_sign_is_not_found(site: Site, ticket_id: int, path: str) -> None:
    assert site.client.get(f"/care/cases/{path}").status_code == 404


def test_a_signature_for_one_case_opens_no_other(site: Site, ticket_id: int) -> None:
    mac = signed(site, ticket_id).partition(".")[2]
    assert site.client.get(f"/care/cases/t{ticket_id + 1}.{mac}").status_code == 404
    assert site.client.get(f"/care/cases/{signed(site, ticket_id + 999)}").status_code == 404


def test_a_message_id_or_bounce_address_opens_no_case(site: Site, ticket_id: int) -> None:
    signer = Signer(site.settings.signing_keys(), site.settings.notices.domain)
    for other in (signer.message_id(f"t{ticket_id}").strip("<>"), signer.reply_address(f"t{ticket_id}")):
        assert site.client.get(f"/care/cases/{other.partition('@')[0].rpartition('+')[2]}").status_code == 404


def test_an_owner_sees_why_the_ticket_is_theirs_and_what_is_missing(site: Site, ticket_id: int) -> None:
    answer = site.client.get(f"/desk/tickets/{format_number(ticket_id)}")
    assert answer.status_code == 200
    assert "There is no default team" in answer.text
    assert "The phone call gave no claim number" in answer.text
    assert "<dd>dana@<wbr>riverside.example</dd>" in answer.text, "an address may break behind its @, and nowhere else"
    assert CANARY not in answer.text
    assert "<b>Ortiz" not in answer.text


def test_a_ticket_is_hidden_from_strangers_and_unknown_numbers_are_not_found(site: Site, ticket_id: int) -> None:
    page = f"/desk/tickets/{format_number(ticket_id)}"
    stranger = {"X-Forwarded-For": "203.0.113.9"}
    assert site.client.get(page, headers=stranger).status_code == 404
    token = {**stranger, "Authorization": f"Bearer {STATUS_TOKEN}"}
    assert site.client.get(page, headers=token).status_code == 200
    assert site.client.get("/desk/tickets/BS-999999").status_code == 404
    assert site.client.get("/desk/tickets/nonsense").status_code == 404


def test_the_link_of_a_digest_leads_to_the_front_page_and_strangers_nowhere(site: Site) -> None:
    answer = site.client.get("/desk", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/")
    assert "At a glance" in answer.text
    assert site.client.get("/desk", headers={"X-Forwarded-For": "203.0.113.9"}, follow_redirects=True).status_code == 404


def test_every_page_allows_nothing_remote(site: Site, ticket_id: int) -> None:
    for page in (f"/care/cases/{signed(site, ticket_id)}", f"/desk/tickets/{format_number(ticket_id)}"):
        policy = site.client.get(page).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy
