"""What the webhook missed is taken in from Formstack's own list, once, whichever of both comes first."""

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
from ingest.sources.backfill import FormAsking
from ingest.sources.formstack import ListError, SubmissionList, to_arrival
from tests.ingest.support import Room
from tests.servers.formstack import ANSWERS, TOKEN, FormstackServer
from tests.servers.ports import free_port
from tests.servers.web import HttpResponse

FORM = FormstackServer.form
#: 10:00 in New York.
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """On SQLite only, whose time can be set: the same on both is in test_backfill_schedule.py."""
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


def ask(room: Room, form: Form, wait: Callable[[float], None] = lambda _: None) -> int:
    return FormAsking(FORM, form, room.database, wait).run()


def submissions(room: Room) -> list[int]:
    return [int(item.identity.partition("/")[2]) for item in room.items(family=FORMSTACK)]


def cursor(room: Room) -> FormCursor:
    with room.database.read() as session:
        return session.get_one(FormCursor, FORM)


def post(room: Room, submission: int) -> None:
    """What the webhook stores."""
    place = str(submission)
    room.accept(Arrival(FORMSTACK, "form", f"form:{FORM}", place, b"{}", NOW, identity=f"{FORM}/{place}"))


def test_what_the_webhook_missed_becomes_a_ticket_and_what_it_brought_none_more(
    room: Room, server: FormstackServer, now: Any
) -> None:
    post(room, 101)
    server.submit(101, "2026-11-20 09:00:00")
    server.submit(102, "2026-11-20 09:30:00")
    form = form_of(server)
    assert (ask(room, form), ask(room, form)) == (1, 0)
    post(room, 102)  # late
    assert submissions(room) == [101, 102]
    room.drain()
    (ticket,) = [one for one in room.tickets() if "Riverside Family Clinic" in (one.name or "")]
    assert ticket.source == "formstack"
    assert (cursor(room).missed, cursor(room).missed_at) == (1, NOW)


def test_a_submission_reads_as_the_webhooks_post_does(server: FormstackServer) -> None:
    server.submit(101, "2026-11-20 09:00:00", ANSWERS | {"172000009": ("Details", "text", "And soon.")})
    (page,) = SubmissionList(FORM, form_of(server).backfill or pytest.fail()).pages(None)
    form = Form(unsigned=True, labels={"172000005": "category"})
    arrival = to_arrival(FORM, form, page.listed[0])
    read = parse_form(arrival.raw, ParseOptions(content_type="application/json"))
    assert isinstance(read, ParsedForm)
    assert (read.form_id, read.submission_id, arrival.received_at) == (FORM, "101", datetime(2026, 11, 20, 14, tzinfo=UTC))
    values = form_values(read, form)
    assert (values["requester_name"], values["requester_email"]) == ("Dana Ortiz", "dana.ortiz@riverside.example")
    assert (values["company"], values["category"]) == ("Riverside Family Clinic", "Eligibility, Denials")
    assert all(text in values["details"] for text in ("Claim 88-2041 was denied twice.\nPlease call me.", "And soon."))


def test_all_pages_are_read(room: Room, server: FormstackServer, now: Any) -> None:
    for number in range(250):
        server.submit(1000 + number, "2026-11-20 09:00:00", {})
    assert ask(room, form_of(server)) == 250
    assert [asked["pageNumber"] for asked in server.queries] == ["1", "2", "3"]
    first = server.queries[0]
    assert (first["order"], first["minTime"], first["expandData"]) == ("ASC", "2026-11-20 08:00:00", "true")


def test_two_hours_are_read_again_so_that_a_late_submission_is_found(room: Room, server: FormstackServer, now: Any) -> None:
    form = form_of(server)
    server.submit(101, "2026-11-20 09:50:00")
    assert ask(room, form) == 1
    server.submit(100, "2026-11-20 08:10:00")  # appears late
    now.shift(timedelta(minutes=15))
    assert ask(room, form) == 1
    assert server.queries[-1]["minTime"] == "2026-11-20 08:00:00"
    assert submissions(room) == [101, 100]


def test_what_is_still_on_its_way_is_left_to_the_webhook(room: Room, server: FormstackServer, now: Any) -> None:
    form = form_of(server)
    server.submit(101, "2026-11-20 09:58:00")
    assert (ask(room, form), submissions(room)) == (0, [])
    now.shift(timedelta(minutes=15))
    assert (ask(room, form), submissions(room)) == (1, [101])


def test_nothing_is_lost_or_doubled_when_the_clocks_go_back(room: Room, server: FormstackServer) -> None:
    form = form_of(server)
    # 1 November 2026: after 01:59:59 comes 01:00:00 again; asked every ten minutes from 00:30 on, 00:00 being 04:00 UTC.
    written = [(4, 40, "00:40"), (5, 40, "01:40"), (6, 10, "01:10"), (6, 50, "01:50"), (7, 5, "02:05")]
    with time_machine.travel(datetime(2026, 11, 1, 4, 30, tzinfo=UTC), tick=False) as now:
        for _ in range(20):
            for number, (hour, minute, local) in enumerate(written):
                moment = datetime(2026, 11, 1, hour, minute, tzinfo=UTC)
                if moment <= clock.now() < moment + timedelta(minutes=10):
                    server.submit(100 + number, f"2026-11-01 {local}:00")
            ask(room, form)
            now.shift(timedelta(minutes=10))
    assert sorted(submissions(room)) == [100, 101, 102, 103, 104]


def test_nothing_is_lost_or_doubled_when_the_clocks_go_forward(room: Room, server: FormstackServer) -> None:
    form = form_of(server)
    with time_machine.travel(datetime(2026, 3, 8, 6, 30, tzinfo=UTC), tick=False) as now:
        server.submit(100, "2026-03-08 01:20:00")
        ask(room, form)
        now.shift(timedelta(hours=1))
        server.submit(101, "2026-03-08 03:05:00")
        ask(room, form)
        now.shift(timedelta(hours=1))
        ask(room, form)
    assert submissions(room) == [100, 101]


def test_too_many_requests_are_waited_for_two_four_and_six_seconds(room: Room, server: FormstackServer, now: Any) -> None:
    server.submit(101, "2026-11-20 09:00:00")
    server.failures = [HttpResponse(429)] * 3
    waits: list[float] = []
    assert ask(room, form_of(server), waits.append) == 1
    assert waits == [2.0, 4.0, 6.0]
    server.failures = [HttpResponse(429)] * 4
    ask(room, form_of(server), waits.append)
    assert (cursor(room).error, cursor(room).errors, cursor(room).due_at) == ("too_many_requests", 1, NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("told", "code", "minutes"),
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
def test_trouble_that_passes_is_tried_soon_and_what_must_be_mended_within_the_hour(
    room: Room, server: FormstackServer, now: Any, told: HttpResponse, code: str, minutes: int
) -> None:
    server.failures = [told]
    assert ask(room, form_of(server)) == 0
    row = cursor(room)
    assert (row.error, row.errors, row.due_at) == (code, 1, NOW + timedelta(minutes=minutes))
    server.submit(101, "2026-11-20 09:00:00")
    assert ask(room, form_of(server)) == 1
    assert (cursor(room).errors, cursor(room).error, cursor(room).checked_at) == (0, None, NOW)


def test_a_server_that_is_away_or_silent_is_trouble_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formstack, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port, code in ((free_port(), "connection_refusal"), (silent.getsockname()[1], "timeout")):
            with pytest.raises(ListError) as caught:
                SubmissionList(FORM, Backfill(token=TOKEN, base_url=f"http://127.0.0.1:{port}")).fetch(1, None)
            assert (caught.value.code, caught.value.permanent) == (code, False)


def test_entries_that_cannot_be_read_are_counted_and_spoil_no_other(
    room: Room, server: FormstackServer, now: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"id": "101", "timestamp": "2026-11-20 09:00:00", "data": [{"field": "1", "label": "Canary", "displayValue": None}, 3]}
    bad = [None, {"id": "x"}, {**good, "id": "../1"}, {**good, "timestamp": "soon"}, {**good, "id": "9", "data": None}]
    server.failures = [HttpResponse(200, {"submissions": [*bad, good], "page": {"totalPages": 1}})]
    with caplog.at_level(logging.INFO):
        assert ask(room, form_of(server)) == 1
    assert [getattr(record, "count", None) for record in caplog.records if "cannot be read" in record.message] == [5]
    assert "anary" not in caplog.text


def test_the_first_look_begins_now_or_on_the_day_that_is_set(room: Room, server: FormstackServer, now: Any) -> None:
    server.submit(100, "2026-11-02 00:00:00")
    assert ask(room, form_of(server)) == 0
    with room.database.write() as session:
        session.delete(session.get_one(FormCursor, FORM))
    assert ask(room, form_of(server, since="2026-11-02")) == 1
    assert server.queries[-1]["minTime"] == "2026-11-01 22:00:00"
