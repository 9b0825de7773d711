"""The pages that notices link to: a case for its customer, a ticket for its owner. Neither shows text of a message."""

from __future__ import annotations

import pytest

from core import clock
from core.signing import Signer
from tests.web.conftest import STATUS_TOKEN, Site
from tickets import manual_entry
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
    return site.database.transaction(lambda session: manual_entry.create_by_hand(session, submission, site.settings, clock.now()))


def signed(site: Site, ticket_id: int) -> str:
    return Signer(site.settings.signing_keys(), site.settings.notices.domain).link(f"t{ticket_id}")


def test_signed_address_shows_number_and_status_of_case(site: Site, ticket_id: int) -> None:
    response = site.client.get(f"/care/cases/{signed(site, ticket_id)}")
    assert response.status_code == 200
    assert format_number(ticket_id) in response.text
    assert 'class="now" aria-current="step"' in response.text
    assert CANARY not in response.text
    assert "Dana" not in response.text


@pytest.mark.parametrize("path", ["t1", "1", "BS-000001", "t1.aaaaaaaaaaaaaaaaaaaaaaaaaa", "%00", "..%2f..", "x" * 500])
def test_unsigned_case_address_is_not_found(site: Site, ticket_id: int, path: str) -> None:
    assert site.client.get(f"/care/cases/{path}").status_code == 404


def test_signature_of_one_case_opens_no_other(site: Site, ticket_id: int) -> None:
    mac = signed(site, ticket_id).partition(".")[2]
    assert site.client.get(f"/care/cases/t{ticket_id + 1}.{mac}").status_code == 404
    assert site.client.get(f"/care/cases/{signed(site, ticket_id + 999)}").status_code == 404


def test_message_id_and_bounce_address_open_no_case(site: Site, ticket_id: int) -> None:
    signer = Signer(site.settings.signing_keys(), site.settings.notices.domain)
    for other in (signer.message_id(f"t{ticket_id}").strip("<>"), signer.reply_address(f"t{ticket_id}")):
        assert site.client.get(f"/care/cases/{other.partition('@')[0].rpartition('+')[2]}").status_code == 404


def test_ticket_page_shows_reasons_and_missing_information(site: Site, ticket_id: int) -> None:
    response = site.client.get(f"/desk/tickets/{format_number(ticket_id)}")
    assert response.status_code == 200
    assert "There is no default team" in response.text
    assert "The phone call gave no claim number" in response.text
    assert "<dd>dana@<wbr>riverside.example</dd>" in response.text, "an address may break behind its @, and nowhere else"
    assert CANARY not in response.text
    assert "<b>Ortiz" not in response.text


def test_ticket_page_needs_access_and_known_number(site: Site, ticket_id: int) -> None:
    page = f"/desk/tickets/{format_number(ticket_id)}"
    remote = {"X-Forwarded-For": "203.0.113.9"}
    assert site.client.get(page, headers=remote).status_code == 404
    token = {**remote, "Authorization": f"Bearer {STATUS_TOKEN}"}
    assert site.client.get(page, headers=token).status_code == 200
    assert site.client.get("/desk/tickets/BS-999999").status_code == 404
    assert site.client.get("/desk/tickets/nonsense").status_code == 404


def test_digest_link_redirects_to_status_page(site: Site) -> None:
    response = site.client.get("/desk", follow_redirects=True)
    assert (response.status_code, response.url.path) == (200, "/")
    assert "Overview" in response.text
    assert site.client.get("/desk", headers={"X-Forwarded-For": "203.0.113.9"}, follow_redirects=True).status_code == 404


def test_no_page_allows_remote_content(site: Site, ticket_id: int) -> None:
    for page in (f"/care/cases/{signed(site, ticket_id)}", f"/desk/tickets/{format_number(ticket_id)}"):
        policy = site.client.get(page).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy
