"""Invariant checks on the status page and in the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import httpx
import pytest
from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.findings import Finding, ok, problem
from core.settings import Settings
from ops.invariants.checks import check_invariants
from tests.waiting import scale_budget
from tests.web.test_status_page import MAILBOX, fill
from web import app
from web.server import WebServer

PASSED = ok("stuck_items", "no items are stuck")


class CheckedSite:
    """A server whose findings the test sets."""

    def __init__(self, database: Database) -> None:
        self.findings: Sequence[Finding] = ()
        self.server = WebServer(app.create_app(Settings(), database, check_invariants=self.judge), "127.0.0.1:0")
        self.server.start()

    def judge(self, session: Session) -> Sequence[Finding]:
        assert session.is_active
        return self.findings

    def get(self, path: str) -> str:
        answer = httpx.get(f"http://{self.server.address}{path}", timeout=scale_budget(20))
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def checked_site(database: Database) -> Iterator[CheckedSite]:
    checked_site = CheckedSite(database)
    yield checked_site
    checked_site.server.stop()


def failed_finding(**values: object) -> Finding:
    fields = {"text": "3 facts <wait>", "hint": "see the log", "oldest": clock.now() - timedelta(minutes=7)} | values
    return problem("old_facts", count=3, **fields)  # type: ignore[arg-type]


def test_passed_checks_are_one_line(checked_site: CheckedSite, database: Database) -> None:
    fill(database)
    checked_site.findings = [PASSED, PASSED]
    page = checked_site.get("/")
    assert "All checks passed" in page and "2 checks" in page
    assert 'class="card state off"' not in page


def test_failed_check_is_shown_with_hint_and_age(checked_site: CheckedSite, database: Database) -> None:
    fill(database)
    checked_site.findings = [PASSED, failed_finding()]
    page = checked_site.get("/")
    assert "1 of 2 checks failed" in page
    assert "3 facts &lt;wait&gt;" in page and "for 7 min" in page and "see the log" in page
    assert "All checks passed" not in page


def test_empty_database_hides_passed_checks(checked_site: CheckedSite) -> None:
    checked_site.findings = [PASSED]
    assert "All checks passed" not in checked_site.get("/")


def test_empty_database_shows_failed_checks(checked_site: CheckedSite) -> None:
    checked_site.findings = [failed_finding(oldest=None)]
    page = checked_site.get("/")
    assert "1 of 1 checks failed" in page and "Nothing has arrived yet" in page


def test_without_invariant_checker_no_check_is_shown(database: Database) -> None:
    fill(database)
    server = WebServer(app.create_app(Settings(), database), "127.0.0.1:0")
    server.start()
    try:
        assert "All checks passed" not in httpx.get(f"http://{server.address}/", timeout=scale_budget(20)).text
        assert "casemill_invariant" not in httpx.get(f"http://{server.address}/metrics", timeout=scale_budget(20)).text
    finally:
        server.stop()


def test_every_invariant_is_a_metric(checked_site: CheckedSite) -> None:
    checked_site.findings = [PASSED, failed_finding()]
    lines = checked_site.get("/metrics").splitlines()
    assert 'casemill_invariant{name="stuck_items"} 0.0' in lines
    assert 'casemill_invariant{name="old_facts"} 3.0' in lines
    age = next(line for line in lines if line.startswith('casemill_invariant_oldest_seconds{name="old_facts"}'))
    assert 420 <= float(age.split()[1]) < 430


def test_invariant_checks_of_ops_are_shown(database: Database) -> None:
    fill(database)
    settings = Settings.model_validate({"mailboxes": MAILBOX})
    judged = app.create_app(
        settings, database, check_invariants=lambda session: check_invariants(session, settings, database.now(session))
    )
    server = WebServer(judged, "127.0.0.1:0")
    server.start()
    try:
        page = httpx.get(f"http://{server.address}/", timeout=scale_budget(20)).text
    finally:
        server.stop()
    assert "mailbox support was never read" in page.lower()
    assert "No heartbeat from: clock, mailbox:support" in page
