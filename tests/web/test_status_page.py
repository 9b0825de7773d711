"""Liveness, readiness, metrics and the status page: what they show, and to which clients."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from accounts.models import Company, Contact, Staff
from core import clock
from core.blobs import Blob
from core.database.session import Database
from core.database.types import Base
from ingest.ledger.models import InboundItem, MailboxCursor
from notify.models import Delivery
from outbox.models import OutboxFact
from tests.web.conftest import FORM, STATUS_TOKEN, Serve, Site
from tests.web.hooks.test_formstack import PATH, post, submission
from tickets.models import Ticket
from web.status import queries, view

CANARY = "canary-subject-8812"
MAILBOX = {"support": {"host": "imap.example.com", "user": "support@clinicbilling.example", "password": "x"}}
FORWARDED = [
    {"x-forwarded-for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"x-real-ip": "127.0.0.1"},
    {"host": "evil.example"},
]


def add_item(session: Session, number: int, at: datetime, **values: Any) -> None:
    row: dict[str, Any] = {
        "family": "mail", "identity": f"{CANARY}-{number}", "kind": "mail", "source": "mailbox:support", "sha256": "a" * 64,
        "size": 1, "received_at": at, "due_at": at, "extra": {},
    }  # fmt: skip
    session.execute(insert(InboundItem), [row | values])


def fill(database: Database) -> None:
    """Add three items, two tickets, three notices and a fact; every text of a customer is a canary."""
    now = clock.now()
    with database.write() as session:
        session.execute(insert(Staff), [{"email": "o@x.example", "name": "Priya <b>Raman</b>", "created_at": now}])
        session.execute(insert(Company), [{"name": "Harbor & Eye", "folded": "harbor eye", "created_at": now}])
        session.execute(insert(Contact), [{"name": CANARY, "email": f"{CANARY}@x.example", "created_at": now}])
        session.execute(insert(Blob), [{"sha256": "a" * 64, "size": 1, "content": b"x", "created_at": now}])
        add_item(session, 1, now, state="settled", disposition="ticket")
        add_item(session, 2, now - timedelta(minutes=30), source=f"form:{FORM}")
        add_item(session, 3, now - timedelta(days=2), state="settled", disposition="quarantined", reason=CANARY)
        common = {
            "name": CANARY, "pipeline": "p", "type": "t", "description": CANARY, "missing": [], "opened_at": now,
            "created_at": now, "updated_at": now, "requester_id": 1,
        }  # fmt: skip
        session.execute(insert(Ticket), [common | {"source": "email", "owner_id": 1, "company_id": 1, "stage": 4}])
        session.execute(insert(Ticket), [common | {"source": "phone", "stage": 1}])
        for state in ("sent", "failed", "pending"):
            notice = {"key": state, "mailing": "ticket_created", "ticket_id": 1, "recipient": CANARY, "domain": CANARY}
            rest = {"outside": True, "context": {}, "state": state, "due_at": now, "created_at": now}
            session.execute(insert(Delivery), [notice | rest])
        fact = {"kind": "ticket.created", "payload": {}, "created_at": now, "due_at": now - timedelta(minutes=2)}
        session.execute(insert(OutboxFact), [fact])


def set_cursor(database: Database, *, age: timedelta, errors: int) -> None:
    with database.write() as session:
        row = {"mailbox": "support", "uidvalidity": 1, "checked_at": clock.now() - age, "errors": errors}
        session.execute(insert(MailboxCursor), [row])


def test_liveness_needs_no_database(site: Site) -> None:
    Base.metadata.drop_all(site.database.engine)
    response = site.client.get("/healthz", headers={"x-forwarded-for": "203.0.113.9"})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_readiness_lists_checks_to_local_client(serve: Serve) -> None:
    site = serve(mailboxes=MAILBOX, status_checks=None)
    response = site.client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "mailbox:support": "ok"}}


def test_database_without_tables_is_not_ready_and_names_migrate(site: Site) -> None:
    Base.metadata.drop_all(site.database.engine)
    response = site.client.get("/readyz")
    assert response.status_code == 503
    assert "casemill migrate" in response.json()["checks"]["database"]


@pytest.mark.parametrize(
    ("age", "errors", "status"),
    [(timedelta(minutes=1), 9, 200), (timedelta(minutes=9), 4, 200), (timedelta(minutes=9), 5, 503)],
)
def test_mailbox_is_not_ready_after_repeated_errors_and_silence(serve: Serve, age: timedelta, errors: int, status: int) -> None:
    site = serve(mailboxes=MAILBOX)
    set_cursor(site.database, age=age, errors=errors)
    assert site.client.get("/readyz").status_code == status


def test_process_checks_are_part_of_readiness(serve: Serve) -> None:
    site = serve(status_checks=lambda: {"queue": "Redis does not answer.", "clock": "ok", "parser": True})
    response = site.client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {"database": "ok", "queue": "Redis does not answer.", "clock": "ok", "parser": "ok"}


def test_crashed_check_is_not_ready_and_reveals_nothing(serve: Serve) -> None:
    def crash() -> dict[str, object]:
        raise RuntimeError(CANARY)

    response = serve(status_checks=crash).client.get("/readyz")
    assert response.status_code == 503
    assert CANARY not in response.text


@pytest.mark.parametrize("headers", FORWARDED)
def test_remote_client_sees_no_page_no_metrics_and_no_checks(site: Site, headers: dict[str, str]) -> None:
    assert site.client.get("/", headers=headers).status_code == 404
    assert site.client.get("/metrics", headers=headers).status_code == 404
    assert site.client.get("/readyz", headers=headers).json() == {"status": "ready"}


@pytest.mark.parametrize("headers", FORWARDED)
def test_status_token_gives_access(site: Site, headers: dict[str, str]) -> None:
    with_token = headers | {"authorization": f"Bearer {STATUS_TOKEN}"}
    assert site.client.get("/", headers=with_token).status_code == 200
    assert site.client.get("/metrics", headers=with_token).status_code == 200
    assert "checks" in site.client.get("/readyz", headers=with_token).json()


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {STATUS_TOKEN}", f"Bearer {STATUS_TOKEN}x"])
def test_wrong_token_gives_no_access(site: Site, given: str) -> None:
    headers = {"authorization": given, "x-forwarded-for": "203.0.113.9"}
    assert site.client.get("/", headers=headers).status_code == 404


def test_empty_status_token_gives_no_access(serve: Serve) -> None:
    site = serve(web={"status_token": ""})
    headers = {"authorization": "Bearer", "x-forwarded-for": "203.0.113.9"}
    assert site.client.get("/", headers=headers).status_code == 404


def read_metrics(site: Site) -> dict[str, float]:
    text = site.client.get("/metrics").text
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}


def test_metrics_show_figures_of_database(serve: Serve) -> None:
    site = serve(mailboxes=MAILBOX)
    fill(site.database)
    set_cursor(site.database, age=timedelta(minutes=2), errors=3)
    found = read_metrics(site)
    expected = {
        'casemill_items{state="waiting"}': 1,
        'casemill_items{state="settled"}': 2,
        'casemill_items_by_disposition{disposition="ticket"}': 1,
        "casemill_quarantine_items": 1,
        'casemill_tickets{source="email",stage="4-In Progress"}': 1,
        'casemill_tickets{source="phone",stage="1-Submitted"}': 1,
        'casemill_deliveries{state="failed"}': 1,
        'casemill_mailbox_errors{mailbox="support"}': 3,
        "casemill_database_up": 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert 1800 <= found['casemill_oldest_due_seconds{queue="items"}'] < 1900
    assert 120 <= found['casemill_oldest_due_seconds{queue="facts"}'] < 200
    assert 120 <= found['casemill_mailbox_last_check_seconds{mailbox="support"}'] < 200


def test_metrics_count_requests_and_webhook_posts(site: Site) -> None:
    before = read_metrics(site)
    post(site, submission(1))
    post(site, submission(2), signature="sha256=0")
    site.client.get(f"/{CANARY}")
    after = read_metrics(site)

    def growth(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    route = "/hooks/formstack/{form}"
    assert growth(f'casemill_http_requests_total{{method="POST",route="{route}",status="200"}}') == 1
    assert growth(f'casemill_http_requests_total{{method="POST",route="{route}",status="401"}}') == 1
    assert growth('casemill_http_requests_total{method="GET",route="none",status="404"}') == 1
    assert growth(f'casemill_webhook_posts_total{{form="{FORM}",outcome="accepted"}}') == 1
    assert growth(f'casemill_webhook_posts_total{{form="{FORM}",outcome="unauthorized"}}') == 1
    assert not [name for name in after if CANARY in name or PATH in name]


def test_process_metrics_remain_without_database(site: Site) -> None:
    Base.metadata.drop_all(site.database.engine)
    found = read_metrics(site)
    assert found["casemill_database_up"] == 0
    assert any(name.startswith("casemill_http_requests_total") for name in found)


def test_page_shows_arrivals_and_recent_tickets(site: Site) -> None:
    fill(site.database)
    page = site.client.get("/").text
    for shown in ("BS-000001", "BS-000002", "4-In Progress", "1-Submitted", "Harbor &amp; Eye", "unassigned", "Phone"):
        assert shown in page
    assert page.index("BS-000002") < page.index("BS-000001")
    assert "Priya &lt;b&gt;Raman&lt;/b&gt;" in page
    assert "<b>Raman" not in page


def test_page_and_metrics_contain_no_text_of_customers(site: Site) -> None:
    fill(site.database)
    assert CANARY not in site.client.get("/").text
    assert CANARY not in site.client.get("/metrics").text


def test_page_loads_nothing_remote_and_has_new_nonce(site: Site) -> None:
    first, second = site.client.get("/"), site.client.get("/")
    nonces = [re.search(r"'nonce-([^']+)'", response.headers["content-security-policy"]) for response in (first, second)]
    assert nonces[0] and nonces[1] and nonces[0][1] != nonces[1][1]
    assert first.text.count(f'nonce="{nonces[0][1]}"') == len(re.findall(r"<(?:style|script)", first.text)) == 2
    assert not re.search(r"""(src|href)=["'](?!data:)""", first.text)
    assert not re.search(r"""\s(style|on[a-z]+)=["']""", first.text)


def test_empty_database_shows_how_to_start(serve: Serve) -> None:
    configured = serve(mailboxes=MAILBOX, folders={"drop": {"path": "/srv/drop"}}).client.get("/").text
    assert "Nothing has arrived yet" in configured
    for shown in ("support@clinicbilling.example", f"http://127.0.0.1:8025/hooks/formstack/{FORM}", "/srv/drop"):
        assert shown in configured
    assert "[mailboxes.support]" in serve(forms={}).client.get("/").text


def test_page_says_that_database_does_not_answer(site: Site) -> None:
    Base.metadata.drop_all(site.database.engine)
    response = site.client.get("/")
    assert response.status_code == 503
    assert "The database does not answer" in response.text


def test_arrivals_are_counted_by_hour_and_source(database: Database, serve: Serve) -> None:
    now = clock.now()
    with database.write() as session:
        session.execute(insert(Blob), [{"sha256": "a" * 64, "size": 1, "content": b"x", "created_at": now}])
        for number, minutes in enumerate((1, 59, 61, 23 * 60 + 59, 24 * 60 + 1)):
            add_item(session, number, now - timedelta(minutes=minutes), state="settled", disposition="ticket")
    with database.read() as session:
        found = queries.read_status_figures(session, now)
    assert (found.hours[-1], found.hours[-2], found.hours[0], sum(found.hours)) == (2, 1, 1, 4)
    assert [(one.source, one.disposition, one.count) for one in found.by_source] == [("mailbox:support", "ticket", 4)]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "just now"), (59, "just now"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (200_000, "2 d")]
)
def test_age_is_formatted_for_people(seconds: int, expected: str) -> None:
    assert view.format_age(timedelta(seconds=seconds)) == expected


def test_cross_origin_preflight_is_refused(site: Site) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = httpx.options(f"{site.url}{PATH}", headers=headers)
    assert response.status_code == 405
    assert "access-control-allow-origin" not in response.headers
