"""What others give us: lists that are not read, posts that were missed, secrets that end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from core import clock
from core.settings import Settings
from ingest.ledger.models import FormCursor
from ops.invariants import external_services
from ops.invariants.external_services import SecretEnd, judge_forms, judge_missed, judge_secrets
from tests.ingest.support import Room

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
PACES = {"5512345": timedelta(hours=1)}


def cursor(**values: Any) -> FormCursor:
    defaults: dict[str, Any] = {"started_at": NOW, "checked_at": NOW, "errors": 0, "error": None, "missed": 0, "missed_at": None}
    return FormCursor(form="5512345", **(defaults | values))


@pytest.mark.parametrize(
    ("found", "told"),
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
def test_a_list_that_is_not_read_is_said(found: dict[str, FormCursor], told: str) -> None:
    judged = judge_forms(PACES, found, NOW)
    assert judged.is_violated == bool(told)
    assert told in judged.text


@pytest.mark.parametrize(("ago", "broken"), [(None, False), (timedelta(hours=23), True), (timedelta(hours=25), False)])
def test_a_webhook_that_missed_a_submission_is_said_for_a_day(ago: timedelta | None, broken: bool) -> None:
    found = {"5512345": cursor(missed=3, missed_at=None if ago is None else NOW - ago)}
    judged = judge_missed(PACES, found, NOW)
    assert judged.is_violated is broken
    assert ("3 so far" in judged.text) is broken


@pytest.mark.parametrize(
    ("days", "level", "told"),
    [
        (31, None, "within 30 days"),
        (30, 1, "ends in 30 days"),
        (15, 1, "ends in 15 days"),
        (14, 2, "ends in 14 days"),
        (7, 3, "ends in 7 days"),
        (2, 3, "ends in 2 days"),
        (1, 4, "ends tomorrow"),
        (0, 4, "ends today"),
        (-1, 4, "ended yesterday"),
        (-9, 4, "ended 9 days ago"),
    ],
)
def test_a_client_secret_is_warned_of_30_14_7_and_1_days_ahead(days: int, level: int | None, told: str) -> None:
    last = NOW.date() + timedelta(days=days)
    ends = [SecretEnd("mailboxes.desk.oauth.client_secret", last), SecretEnd("smtp.oauth.client_secret", date(2099, 1, 1))]
    judged = judge_secrets(ends, NOW.date())
    assert (judged.level if judged.is_violated else None) == level
    assert told in judged.text
    assert judged.count == (0 if level is None else 1)


def test_only_what_is_configured_is_judged(room: Room) -> None:
    oauth = {
        "provider": "microsoft", "tenant": "t", "client_id": "c", "client_secret": "secret-canary",
        "client_secret_expires": clock.now().date(),
    }  # fmt: skip
    mailbox = {"host": "localhost", "user": "u", "auth": "xoauth2", "oauth": oauth}
    form = {"unsigned": True, "backfill": {"token": "token-canary"}}
    configured = Settings.model_validate({"mailboxes": {"desk": mailbox}, "forms": {"5512345": form}})
    with room.database.read() as session:
        assert list(external_services.check(session, Settings(), clock.now())) == []
        judged = list(external_services.check(session, configured, clock.now()))
    assert {one.code: one.is_violated for one in judged} == {"silent_forms": True, "missed_posts": False, "ending_secrets": True}
    assert "canary" not in str(judged)
