"""Replaying stored items under changed rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from core.settings import Settings
from ingest.inspection.explain import Explainer
from ingest.inspection.replay import ReplayCounts, ReplayDifference, replay
from tests.ingest.support import (
    RECEIVED,
    IngestHarness,
    arrival,
    form_arrival,
    mailbox,
    make_form,
    make_mail,
    make_row,
    make_workbook,
    settings_for,
    workbook_arrival,
)

FAX = make_mail("fax", headers=["Auto-Submitted: auto-generated"])
NEWS = make_mail("news", headers=["List-Id: <news.example>"])


def run_replay(harness: IngestHarness, settings: Settings, *, days: float = 1) -> tuple[list[ReplayDifference], ReplayCounts]:
    counts = ReplayCounts()
    differences = list(replay(harness.database, Explainer(settings, harness.pool), RECEIVED - timedelta(days=days), counts))
    return differences, counts


def settings_with(harness: IngestHarness, **values: str) -> Settings:
    """The settings with other rules for the mailbox."""
    boxes = {"support": mailbox(address="support@casemill.example", **values)}
    return settings_for(str(harness.settings.database_url), harness.settings.data_dir, mailboxes=boxes)


def test_no_item_differs_under_unchanged_rules(harness: IngestHarness) -> None:
    harness.take(
        arrival(make_mail("person"), "1"), arrival(make_mail("person", headers=["Received: by another"]), "2"),
        arrival(FAX, "3"), arrival(NEWS, "4"), arrival(b"", "5", kind="unfetched", identity="unfetched:5"),
        form_arrival(make_form()), workbook_arrival(make_workbook(make_row(1))),
    )  # fmt: skip
    differences, counts = run_replay(harness, harness.settings)
    assert differences == []
    assert counts == ReplayCounts(checked=7, missing=0), "the duplicate is not checked by itself"


def test_changed_rules_are_reported_item_by_item_and_change_nothing(harness: IngestHarness) -> None:
    fax, news, _ = harness.take(arrival(FAX, "1"), arrival(NEWS, "2"), arrival(make_mail("person"), "3"))
    before = harness.rows("SELECT id, disposition, settled_at FROM inbound_item ORDER BY id")
    differences, _ = run_replay(harness, settings_with(harness, automatic="set-aside", lists="ticket"))
    assert [(one.item, one.was, one.would_be) for one in differences] == [
        (fax.id, "ticket", "automatic"),
        (news.id, "list", "ticket"),
    ]
    assert differences[0].ticket == "BS-000001"
    assert differences[1].as_dict()["was_because"].startswith("It is list or bulk mail")
    assert harness.rows("SELECT id, disposition, settled_at FROM inbound_item ORDER BY id") == before


def test_only_items_received_since_then_are_checked(harness: IngestHarness) -> None:
    harness.take(arrival(FAX, "1"), arrival(NEWS, "2", received_at=RECEIVED - timedelta(days=3)))
    assert run_replay(harness, harness.settings)[1].checked == 1
    assert run_replay(harness, harness.settings, days=4)[1].checked == 2


def test_quarantined_item_that_can_be_read_now_differs(make_harness: Callable[..., IngestHarness]) -> None:
    harness = make_harness()
    (item,) = harness.take(arrival(make_mail("person"), "1"))
    harness.sql("UPDATE inbound_item SET disposition = 'quarantined', reason_code = 'unreadable', reason = 'x'")
    differences, _ = run_replay(harness, harness.settings)
    assert [(one.item, one.was, one.would_be) for one in differences] == [(item.id, "quarantined", "ticket")]
