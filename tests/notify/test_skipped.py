"""Staff send a skipped notice anyway."""

from __future__ import annotations

import pytest

from accounts.models import Staff
from core import clock
from core.errors import NotFoundError, RefusedError
from notify import skipped as skipped_notices
from notify.delivery import DeliveryWorker
from tests.notify.harness import NotifyHarness
from tests.servers.smtp import SmtpServer

WHO = "ada@billing.example"


def release(harness: NotifyHarness, delivery_id: int, reason: str = "Known by telephone", *, active: bool = True) -> None:
    with harness.database.write() as session:
        ada = Staff(email=WHO, name="Ada", role="representative", active=active, created_at=clock.now())
        skipped_notices.send_anyway(session, delivery_id, ada, reason, clock.now())


def skipped(harness: NotifyHarness, code: str = "sender_not_verified", email: str | None = "pat@clinic.example") -> int:
    ticket_id = harness.add_ticket(email, answer=False, refusal=(code, "Nobody vouches for the sender"))
    harness.relay_facts()
    return ticket_id


def test_notice_to_unverified_sender_is_sent_when_staff_send_it_anyway(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = skipped(harness)
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), smtp_server.messages) == (["skipped"], [4], [])
    release(harness, harness.delivery().id)
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), len(smtp_server.messages)) == (["sent"], [4], 1)
    assert [title for kind, title, _ in harness.timeline(ticket_id) if kind == "notice"] == [
        "Creation notice not sent", "Send anyway: ticket created", "Creation notice sent",
    ]  # fmt: skip


def test_notice_sent_anyway_ignores_limits(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    for _ in range(4):
        harness.add_ticket("pat@clinic.example")
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 3 + ["skipped"]
    release(harness, harness.deliveries()[3].id)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 4


@pytest.mark.parametrize(("code", "email"), [("own_address", "pat@clinic.example"), ("sender_not_verified", None)])
def test_notice_to_own_or_missing_address_cannot_be_sent_anyway(harness: NotifyHarness, code: str, email: str | None) -> None:
    skipped(harness, code, email)
    with pytest.raises(RefusedError):
        release(harness, harness.delivery().id)


def test_only_skipped_notice_can_be_sent_anyway_and_only_with_reason(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    harness.add_ticket()
    harness.run_until_idle(worker)
    for delivery_id, reason, error in [(1, "x", RefusedError), (4711, "x", NotFoundError), (1, " ", RefusedError)]:
        with pytest.raises(error):
            release(harness, delivery_id, reason)


def test_skipped_notices_are_listed_with_reasons(harness: NotifyHarness) -> None:
    first, second = skipped(harness), skipped(harness, "never_answer")
    with harness.database.read() as session:
        rows = skipped_notices.list_skipped(session)
        assert [row["reason_code"] for row in rows] == ["never_answer", "sender_not_verified"]
        assert [row["ticket"] for row in skipped_notices.list_skipped(session, first)] == [rows[1]["ticket"]]
    assert second


def test_inactive_staff_cannot_send_notice_anyway(harness: NotifyHarness) -> None:
    skipped(harness)
    with pytest.raises(RefusedError, match="no longer active"):
        release(harness, harness.delivery().id, active=False)
    assert harness.delivery_states() == ["skipped"]
