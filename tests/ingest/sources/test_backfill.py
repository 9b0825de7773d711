"""Backfill: submissions that the webhook missed are accepted from Formstack's list, each once."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from core import clock
from core.settings.sections import Backfill, Form
from ingest.decisions.normalise import form_values
from ingest.ledger.models import FormCursor
from ingest.ledger.types import FORMSTACK, Arrival
from ingest.parsers.form.submission import parse_form
from ingest.parsers.types import ParsedForm, ParseOptions
from ingest.sources import formstack
from ingest.sources.backfill import FormBackfill
from ingest.sources.formstack import ListError, SubmissionList, to_arrival
from tests.ingest.support import IngestHarness
from tests.servers.formstack import ANSWERS, TOKEN, FormstackServer
from tests.servers.ports import free_port
from tests.servers.web import HttpResponse

FORM = FormstackServer.form
#: 10:00 in New York.
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite only, because its time can be set; both databases are tested in test_backfill_schedule.py."""
    return f"sqlite:///{tmp_path / 'casemill.db'}"


@pytest.fixture
def server() -> Iterator[FormstackServer]:
    with FormstackServer() as running:
        yield running


@pytest.fixture
def now() -> Iterator[Any]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def form_of(server: FormstackServer, **changes: Any) -> Form:
    return Form(unsigned=True, backfill=Backfill(**({"token": TOKEN, "base_url": server.url} | changes)))


def run_backfill(harness: IngestHarness, form: Form, wait: Callable[[float], None] = lambda _: None) -> int:
    return FormBackfill(FORM, form, harness.database, wait).run()


def submissions(harness: IngestHarness) -> list[int]:
    return [int(item.identity.partition("/")[2]) for item in harness.items(family=FORMSTACK)]


def cursor(harness: IngestHarness) -> FormCursor:
    with harness.database.read() as session:
        return session.get_one(FormCursor, FORM)


def accept_post(harness: IngestHarness, submission: int) -> None:
    """Accept a submission, as the webhook does."""
    place = str(submission)
    harness.accept(Arrival(FORMSTACK, "form", f"form:{FORM}", place, b"{}", NOW, identity=f"{FORM}/{place}"))


def test_missed_submission_becomes_a_ticket_and_a_known_one_does_not(
    harness: IngestHarness, server: FormstackServer, now: Any
) -> None:
    accept_post(harness, 101)
    server.submit(101, "2026-11-20 09:00:00")
    server.submit(102, "2026-11-20 09:30:00")
    form = form_of(server)
    assert (run_backfill(harness, form), run_backfill(harness, form)) == (1, 0)
    # The webhook's post arrives late.
    accept_post(harness, 102)
    assert submissions(harness) == [101, 102]
    harness.drain()
    (ticket,) = [one for one in harness.tickets() if "Riverside Family Clinic" in (one.name or "")]
    assert ticket.source == "formstack"
    assert (cursor(harness).missed, cursor(harness).missed_at) == (1, NOW)


def test_listed_submission_reads_like_the_webhooks_post(server: FormstackServer) -> None:
    server.submit(101, "2026-11-20 09:00:00", ANSWERS | {"172000009": ("Details", "text", "And soon.")})
    (page,) = SubmissionList(FORM, form_of(server).backfill or pytest.fail()).read_pages(None)
    form = Form(unsigned=True, labels={"172000005": "category"})
    arrival = to_arrival(FORM, form, page.submissions[0])
    read = parse_form(arrival.raw, ParseOptions(content_type="application/json"))
    assert isinstance(read, ParsedForm)
    assert (read.form_id, read.submission_id, arrival.received_at) == (FORM, "101", datetime(2026, 11, 20, 14, tzinfo=UTC))
    values = form_values(read, form)
    assert (values["requester_name"], values["requester_email"]) == ("Dana Ortiz", "dana.ortiz@riverside.example")
    assert (values["company"], values["category"]) == ("Riverside Family Clinic", "Eligibility, Denials")
    assert all(text in values["details"] for text in ("Claim 88-2041 was denied twice.\nPlease call me.", "And soon."))


def test_all_pages_are_read(harness: IngestHarness, server: FormstackServer, now: Any) -> None:
    for number in range(250):
        server.submit(1000 + number, "2026-11-20 09:00:00", {})
    assert run_backfill(harness, form_of(server)) == 250
    assert [asked["pageNumber"] for asked in server.queries] == ["1", "2", "3"]
    first = server.queries[0]
    assert (first["order"], first["minTime"], first["expandData"]) == ("ASC", "2026-11-20 08:00:00", "true")


def test_last_two_hours_are_read_again_for_late_submissions(harness: IngestHarness, server: FormstackServer, now: Any) -> None:
    form = form_of(server)
    server.submit(101, "2026-11-20 09:50:00")
    assert run_backfill(harness, form) == 1
    server.submit(100, "2026-11-20 08:10:00")
    now.shift(timedelta(minutes=15))
    assert run_backfill(harness, form) == 1
    assert server.queries[-1]["minTime"] == "2026-11-20 08:00:00"
    assert submissions(harness) == [101, 100]


def test_new_submission_is_left_to_the_webhook(harness: IngestHarness, server: FormstackServer, now: Any) -> None:
    form = form_of(server)
    server.submit(101, "2026-11-20 09:58:00")
    assert (run_backfill(harness, form), submissions(harness)) == (0, [])
    now.shift(timedelta(minutes=15))
    assert (run_backfill(harness, form), submissions(harness)) == (1, [101])


def test_nothing_is_lost_or_duplicated_when_the_clocks_go_back(harness: IngestHarness, server: FormstackServer) -> None:
    form = form_of(server)
    # 1 November 2026: after 01:59:59 comes 01:00:00 again; read every ten minutes from 00:30 on, 00:00 being 04:00 UTC.
    times = [(4, 40, "00:40"), (5, 40, "01:40"), (6, 10, "01:10"), (6, 50, "01:50"), (7, 5, "02:05")]
    with time_machine.travel(datetime(2026, 11, 1, 4, 30, tzinfo=UTC), tick=False) as now:
        for _ in range(20):
            for number, (hour, minute, local) in enumerate(times):
                moment = datetime(2026, 11, 1, hour, minute, tzinfo=UTC)
                if moment <= clock.now() < moment + timedelta(minutes=10):
                    server.submit(100 + number, f"2026-11-01 {local}:00")
            run_backfill(harness, form)
            now.shift(timedelta(minutes=10))
    assert sorted(submissions(harness)) == [100, 101, 102, 103, 104]


def test_nothing_is_lost_or_duplicated_when_the_clocks_go_forward(harness: IngestHarness, server: FormstackServer) -> None:
    form = form_of(server)
    with time_machine.travel(datetime(2026, 3, 8, 6, 30, tzinfo=UTC), tick=False) as now:
        server.submit(100, "2026-03-08 01:20:00")
        run_backfill(harness, form)
        now.shift(timedelta(hours=1))
        server.submit(101, "2026-03-08 03:05:00")
        run_backfill(harness, form)
        now.shift(timedelta(hours=1))
        run_backfill(harness, form)
    assert submissions(harness) == [100, 101]


def test_too_many_requests_are_repeated_after_two_four_and_six_seconds(
    harness: IngestHarness, server: FormstackServer, now: Any
) -> None:
    server.submit(101, "2026-11-20 09:00:00")
    server.failures = [HttpResponse(429)] * 3
    pauses: list[float] = []
    assert run_backfill(harness, form_of(server), pauses.append) == 1
    assert pauses == [2.0, 4.0, 6.0]
    server.failures = [HttpResponse(429)] * 4
    run_backfill(harness, form_of(server), pauses.append)
    assert (cursor(harness).error, cursor(harness).errors, cursor(harness).due_at) == (
        "too_many_requests",
        1,
        NOW + timedelta(minutes=1),
    )


@pytest.mark.parametrize(
    ("response", "code", "minutes"),
    [
        (HttpResponse(401), "refused_token", 60),
        (HttpResponse(403), "missing_permission", 60),
        (HttpResponse(404), "unknown_form", 60),
        (HttpResponse(503), "status_503", 1),
        (HttpResponse(302), "status_302", 1),
        (HttpResponse(200, b"{"), "bad_answer", 1),
        (HttpResponse(200, b"[]"), "bad_answer", 1),
        (HttpResponse(200, {"submissions": {}}), "bad_answer", 1),
    ],
)
def test_temporary_errors_are_retried_soon_and_permanent_ones_within_the_hour(
    harness: IngestHarness, server: FormstackServer, now: Any, response: HttpResponse, code: str, minutes: int
) -> None:
    server.failures = [response]
    assert run_backfill(harness, form_of(server)) == 0
    row = cursor(harness)
    assert (row.error, row.errors, row.due_at) == (code, 1, NOW + timedelta(minutes=minutes))
    server.submit(101, "2026-11-20 09:00:00")
    assert run_backfill(harness, form_of(server)) == 1
    assert (cursor(harness).errors, cursor(harness).error, cursor(harness).checked_at) == (0, None, NOW)


def test_unreachable_or_silent_server_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formstack, "REQUEST_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port, code in ((free_port(), "connection_refusal"), (silent.getsockname()[1], "timeout")):
            with pytest.raises(ListError) as caught:
                SubmissionList(FORM, Backfill(token=TOKEN, base_url=f"http://127.0.0.1:{port}")).fetch_page(1, None)
            assert (caught.value.code, caught.value.is_permanent) == (code, False)


def test_unreadable_entries_are_counted_and_affect_no_other(
    harness: IngestHarness, server: FormstackServer, now: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"id": "101", "timestamp": "2026-11-20 09:00:00", "data": [{"field": "1", "label": "Canary", "displayValue": None}, 3]}
    bad = [None, {"id": "x"}, {**good, "id": "../1"}, {**good, "timestamp": "soon"}, {**good, "id": "9", "data": None}]
    server.failures = [HttpResponse(200, {"submissions": [*bad, good], "page": {"totalPages": 1}})]
    with caplog.at_level(logging.INFO):
        assert run_backfill(harness, form_of(server)) == 1
    assert [getattr(record, "count", None) for record in caplog.records if "unreadable" in record.message] == [5]
    assert "anary" not in caplog.text


def test_first_run_starts_now_or_on_the_configured_day(harness: IngestHarness, server: FormstackServer, now: Any) -> None:
    server.submit(100, "2026-11-02 00:00:00")
    assert run_backfill(harness, form_of(server)) == 0
    with harness.database.write() as session:
        session.delete(session.get_one(FormCursor, FORM))
    assert run_backfill(harness, form_of(server, since="2026-11-02")) == 1
    assert server.queries[-1]["minTime"] == "2026-11-01 22:00:00"
