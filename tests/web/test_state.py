"""The invariants on the front page and in the metrics: calm when all hold, plain when one does not."""

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
from tests.web.test_status import MAILBOX, fill
from web import app
from web.server import WebServer

HOLDS = ok("stuck_items", "no items are stuck")


class House:
    """A server whose judgements the test gives."""

    def __init__(self, database: Database) -> None:
        self.found: Sequence[Finding] = ()
        self.server = WebServer(app.create_app(Settings(), database, check_invariants=self.judge), "127.0.0.1:0")
        self.server.start()

    def judge(self, session: Session) -> Sequence[Finding]:
        assert session.is_active
        return self.found

    def get(self, path: str) -> str:
        answer = httpx.get(f"http://{self.server.address}{path}", timeout=20)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def house(database: Database) -> Iterator[House]:
    house = House(database)
    yield house
    house.server.stop()


def broken(**values: object) -> Finding:
    told = {"text": "3 facts <wait>", "hint": "see the log", "oldest": clock.now() - timedelta(minutes=7)} | values
    return problem("old_facts", count=3, **told)  # type: ignore[arg-type]


def test_all_is_well_is_one_calm_line(house: House, database: Database) -> None:
    fill(database)
    house.found = [HOLDS, HOLDS]
    page = house.get("/")
    assert "All is well" in page and "2 checks hold" in page
    assert 'class="card state off"' not in page


def test_what_does_not_hold_is_told_with_its_mend_and_since_when(house: House, database: Database) -> None:
    fill(database)
    house.found = [HOLDS, broken()]
    page = house.get("/")
    assert "1 of 2 checks need somebody" in page
    assert "3 facts &lt;wait&gt;" in page and "for 7 min" in page and "see the log" in page
    assert "All is well" not in page


def test_an_empty_house_says_only_what_is_wrong(house: House) -> None:
    house.found = [HOLDS]
    assert "All is well" not in house.get("/")


def test_an_empty_house_says_what_is_wrong(house: House) -> None:
    house.found = [broken(oldest=None)]
    page = house.get("/")
    assert "1 of 1 checks need somebody" in page and "Nothing has arrived yet" in page


def test_without_a_judge_nothing_is_claimed(database: Database) -> None:
    fill(database)
    server = WebServer(app.create_app(Settings(), database), "127.0.0.1:0")
    server.start()
    try:
        assert "All is well" not in httpx.get(f"http://{server.address}/", timeout=20).text
        assert "casemill_invariant" not in httpx.get(f"http://{server.address}/metrics", timeout=20).text
    finally:
        server.stop()


def test_every_invariant_is_a_metric(house: House) -> None:
    house.found = [HOLDS, broken()]
    lines = house.get("/metrics").splitlines()
    assert 'casemill_invariant{name="stuck_items"} 0.0' in lines
    assert 'casemill_invariant{name="old_facts"} 3.0' in lines
    age = next(line for line in lines if line.startswith('casemill_invariant_oldest_seconds{name="old_facts"}'))
    assert 420 <= float(age.split()[1]) < 430


def test_the_real_judge_fits(database: Database) -> None:
    fill(database)
    settings = Settings.model_validate({"mailboxes": MAILBOX})
    judged = app.create_app(
        settings, database, check_invariants=lambda session: check_invariants(session, settings, database.now(session))
    )
    server = WebServer(judged, "127.0.0.1:0")
    server.start()
    try:
        page = httpx.get(f"http://{server.address}/", timeout=20).text
    finally:
        server.stop()
    assert "mailbox support was never read" in page.lower()
    assert "No heartbeat from: clock, mailbox:support" in page
