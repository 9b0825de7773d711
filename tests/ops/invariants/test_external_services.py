"""Invariants of external services: lists that are not read, missed submissions, secrets that expire."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from core import clock
from core.settings import Settings
from ingest.ledger.models import FormCursor
from ops.invariants import external_services
from ops.invariants.external_services import SecretExpiry, check_client_secrets, check_forms, check_missed_submissions
from tests.ingest.support import IngestHarness

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
MAX_PAUSES = {"5512345": timedelta(hours=1)}


def cursor(**values: Any) -> FormCursor:
    defaults: dict[str, Any] = {"started_at": NOW, "checked_at": NOW, "errors": 0, "error": None, "missed": 0, "missed_at": None}
    return FormCursor(form="5512345", **(defaults | values))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ({}, "was never read"),
        ({"5512345": cursor()}, ""),
        ({"5512345": cursor(checked_at=NOW - timedelta(minutes=119), errors=4, error="timeout")}, ""),
        ({"5512345": cursor(checked_at=NOW - timedelta(minutes=121))}, "was last read at 2026-11-20 12:59 UTC"),
        ({"5512345": cursor(started_at=NOW - timedelta(hours=3), checked_at=None)}, "was never read to its end"),
        ({"5512345": cursor(errors=5, error="timeout")}, "cannot be read (timeout)"),
        ({"5512345": cursor(errors=1, error="refused_token")}, "cannot be read (refused token)"),
    ],
)
def test_form_list_that_is_not_read_is_a_problem(rows: dict[str, FormCursor], text: str) -> None:
    finding = check_forms(MAX_PAUSES, rows, NOW)
    assert finding.is_ok != bool(text)
    assert text in finding.text


@pytest.mark.parametrize(("ago", "violated"), [(None, False), (timedelta(hours=23), True), (timedelta(hours=25), False)])
def test_missed_submission_is_a_problem_for_a_day(ago: timedelta | None, violated: bool) -> None:
    rows = {"5512345": cursor(missed=3, missed_at=None if ago is None else NOW - ago)}
    finding = check_missed_submissions(MAX_PAUSES, rows, NOW)
    assert finding.is_ok is not violated
    assert ("3 so far" in finding.text) is violated


@pytest.mark.parametrize(
    ("days", "level", "text"),
    [
        (31, None, "within 30 days"),
        (30, 1, "expires in 30 days"),
        (15, 1, "expires in 15 days"),
        (14, 2, "expires in 14 days"),
        (7, 3, "expires in 7 days"),
        (2, 3, "expires in 2 days"),
        (1, 4, "expires tomorrow"),
        (0, 4, "expires today"),
        (-1, 4, "expired yesterday"),
        (-9, 4, "expired 9 days ago"),
    ],
)
def test_expiring_client_secret_is_reported_30_14_7_and_1_days_ahead(days: int, level: int | None, text: str) -> None:
    last = NOW.date() + timedelta(days=days)
    expiries = [
        SecretExpiry("mailboxes.desk.oauth.client_secret", last),
        SecretExpiry("smtp.oauth.client_secret", date(2099, 1, 1)),
    ]
    finding = check_client_secrets(expiries, NOW.date())
    assert (None if finding.is_ok else finding.level) == level
    assert text in finding.text
    assert finding.count == (0 if level is None else 1)


def test_only_configured_services_are_checked(harness: IngestHarness) -> None:
    oauth = {
        "provider": "microsoft", "tenant": "t", "client_id": "c", "client_secret": "secret-canary",
        "client_secret_expires": clock.now().date(),
    }  # fmt: skip
    mailbox = {"host": "localhost", "user": "u", "auth": "xoauth2", "oauth": oauth}
    form = {"unsigned": True, "backfill": {"token": "token-canary"}}
    configured = Settings.model_validate({"mailboxes": {"desk": mailbox}, "forms": {"5512345": form}})
    with harness.database.read() as session:
        assert list(external_services.check_external_services(session, Settings(), clock.now())) == []
        findings = list(external_services.check_external_services(session, configured, clock.now()))
    assert {one.check: one.is_ok for one in findings} == {"silent_forms": False, "missed_posts": True, "ending_secrets": False}
    assert "canary" not in str(findings)
