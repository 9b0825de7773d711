"""The clock and the backfill, on both databases: one process asks at a time, and the clock waits for nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core import clock
from core.settings.sections import Backfill, Form
from ingest.ledger.models import FormCursor
from ingest.ledger.types import FORMSTACK
from ingest.sources.backfill import Backfilling, FormAsking
from tests.ingest.support import Room
from tests.servers.formstack import TOKEN, FormstackServer
from tests.waiting import wait_until

FORM = FormstackServer.form


@pytest.fixture
def server() -> Iterator[FormstackServer]:
    with FormstackServer() as running:
        yield running


def form_of(server: FormstackServer, **changes: Any) -> Form:
    return Form(unsigned=True, backfill=Backfill(**({"token": TOKEN, "base_url": server.url} | changes)))


def ask(room: Room, form: Form) -> int:
    return FormAsking(FORM, form, room.database).run()


def submissions(room: Room) -> list[int]:
    return [int(item.identity.partition("/")[2]) for item in room.items(family=FORMSTACK)]


def test_two_clocks_ask_one_at_a_time_and_nothing_is_doubled(room: Room, server: FormstackServer) -> None:
    for number in range(20):
        server.submit(100 + number, (clock.now() - timedelta(days=2)).strftime("%Y-%m-%d 00:00:00"))
    form = form_of(server, since="2026-01-01")
    threads = [threading.Thread(target=ask, args=(room, form)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(submissions(room)) == list(range(100, 120))


def test_the_clock_starts_what_is_due_and_never_waits_for_it(room: Room, server: FormstackServer) -> None:
    server.submit(101, "2026-11-20 09:00:00")
    form = form_of(server, since="2026-11-01")
    backfilling = Backfilling({FORM: form, "551": Form(unsigned=True)}, room.database)
    backfilling.look()
    backfilling.join(30)
    wait_until(lambda: submissions(room) == [101])
    backfilling.look()
    backfilling.join(30)
    assert len(server.queries) == 1
    with room.database.write() as session:  # a clock that was ahead has put it off
        session.execute(update(FormCursor).values(due_at=clock.now() + timedelta(days=1)))
    backfilling.look()
    backfilling.join(30)
    assert len(server.queries) == 2
