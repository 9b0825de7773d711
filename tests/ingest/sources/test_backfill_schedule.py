"""The backfill schedule, on both databases: one process reads a form at a time, and the clock never waits."""

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
from ingest.sources.backfill import BackfillScheduler, FormBackfill
from tests.ingest.support import IngestHarness
from tests.servers.formstack import TOKEN, FormstackServer
from tests.waiting import scale_budget, wait_until

FORM = FormstackServer.form


@pytest.fixture
def server() -> Iterator[FormstackServer]:
    with FormstackServer() as running:
        yield running


def form_of(server: FormstackServer, **changes: Any) -> Form:
    return Form(unsigned=True, backfill=Backfill(**({"token": TOKEN, "base_url": server.url} | changes)))


def run_backfill(harness: IngestHarness, form: Form) -> int:
    return FormBackfill(FORM, form, harness.database).run()


def submissions(harness: IngestHarness) -> list[int]:
    return [int(item.identity.partition("/")[2]) for item in harness.items(family=FORMSTACK)]


def test_concurrent_runs_of_one_form_duplicate_nothing(harness: IngestHarness, server: FormstackServer) -> None:
    for number in range(20):
        server.submit(100 + number, (clock.now() - timedelta(days=2)).strftime("%Y-%m-%d 00:00:00"))
    form = form_of(server, since="2026-01-01")
    threads = [threading.Thread(target=run_backfill, args=(harness, form)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scale_budget(30))
    assert sorted(submissions(harness)) == list(range(100, 120))


def test_scheduler_starts_due_forms_without_waiting(harness: IngestHarness, server: FormstackServer) -> None:
    server.submit(101, "2026-11-20 09:00:00")
    form = form_of(server, since="2026-11-01")
    scheduler = BackfillScheduler({FORM: form, "551": Form(unsigned=True)}, harness.database)
    scheduler.start_due()
    scheduler.join(scale_budget(30))
    wait_until(lambda: submissions(harness) == [101])
    scheduler.start_due()
    scheduler.join(scale_budget(30))
    assert len(server.queries) == 1
    # A clock that was ahead has postponed the form.
    with harness.database.write() as session:
        session.execute(update(FormCursor).values(due_at=clock.now() + timedelta(days=1)))
    scheduler.start_due()
    scheduler.join(scale_budget(30))
    assert len(server.queries) == 2
