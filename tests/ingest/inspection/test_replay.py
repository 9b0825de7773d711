"""What changed rules would make of items that arrived earlier."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from core.settings import Settings
from ingest.inspection.explain import Explainer
from ingest.inspection.replay import Difference, ReplayCounts, replay
from tests.ingest.support import (
    RECEIVED,
    Room,
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


def look(room: Room, settings: Settings, *, days: float = 1) -> tuple[list[Difference], ReplayCounts]:
    tally = ReplayCounts()
    found = list(replay(room.database, Explainer(settings, room.pool), RECEIVED - timedelta(days=days), tally))
    return found, tally


def changed(room: Room, **values: str) -> Settings:
    """The settings with other rules for the mailbox."""
    boxes = {"support": mailbox(address="support@casemill.example", **values)}
    return settings_for(str(room.settings.database_url), room.settings.data_dir, mailboxes=boxes)


def test_under_the_same_rules_nothing_differs_whatever_arrived(room: Room) -> None:
    room.take(
        arrival(make_mail("person"), "1"), arrival(make_mail("person", headers=["Received: by another"]), "2"),
        arrival(FAX, "3"), arrival(NEWS, "4"), arrival(b"", "5", kind="unfetched", identity="unfetched:5"),
        form_arrival(make_form()), workbook_arrival(make_workbook(make_row(1))),
    )  # fmt: skip
    found, tally = look(room, room.settings)
    assert found == []
    assert tally == ReplayCounts(looked_at=7, gone=0), "the copy follows its original"


def test_changed_rules_are_told_item_by_item_and_change_nothing(room: Room) -> None:
    fax, news, _ = room.take(arrival(FAX, "1"), arrival(NEWS, "2"), arrival(make_mail("person"), "3"))
    before = room.rows("SELECT id, disposition, settled_at FROM inbound_item ORDER BY id")
    found, _ = look(room, changed(room, automatic="set-aside", lists="ticket"))
    assert [(one.item, one.was, one.would_be) for one in found] == [(fax.id, "ticket", "automatic"), (news.id, "list", "ticket")]
    assert found[0].ticket == "BS-000001"
    assert found[1].as_dict()["was_because"].startswith("It is list or bulk mail")
    assert room.rows("SELECT id, disposition, settled_at FROM inbound_item ORDER BY id") == before


def test_only_items_since_then_are_looked_at(room: Room) -> None:
    room.take(arrival(FAX, "1"), arrival(NEWS, "2", received_at=RECEIVED - timedelta(days=3)))
    assert look(room, room.settings)[1].looked_at == 1
    assert look(room, room.settings, days=4)[1].looked_at == 2


def test_a_quarantined_item_that_could_be_read_now_differs(make_room: Callable[..., Room]) -> None:
    room = make_room()
    (item,) = room.take(arrival(make_mail("person"), "1"))
    room.sql("UPDATE inbound_item SET disposition = 'quarantined', reason_code = 'unreadable', reason = 'x'")
    found, _ = look(room, room.settings)
    assert [(one.item, one.was, one.would_be) for one in found] == [(item.id, "quarantined", "ticket")]
