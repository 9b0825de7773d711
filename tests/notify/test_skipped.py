"""Staff let a notice go that was skipped."""

from __future__ import annotations

import pytest

from accounts.models import Staff
from core import clock
from core.errors import NotFoundError, RefusedError
from notify import skipped as skipped_notices
from notify.delivery import DeliveryWorker
from tests.notify.post import Post
from tests.servers.smtp import SmtpServer

WHO = "ada@billing.example"


def release(post: Post, delivery_id: int, reason: str = "Known by telephone", *, active: bool = True) -> None:
    with post.database.write() as session:
        ada = Staff(email=WHO, name="Ada", role="representative", active=active, created_at=clock.now())
        skipped_notices.send_anyway(session, delivery_id, ada, reason, clock.now())


def skipped(post: Post, code: str = "sender_not_verified", email: str | None = "pat@clinic.example") -> int:
    ticket_id = post.ticket(email, answer=False, refusal=(code, "Nobody vouches for the sender"))
    post.relay()
    return ticket_id


def test_a_notice_to_a_sender_nobody_vouches_for_goes_out_once_staff_say_so(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = skipped(post)
    post.settle(worker)
    assert (post.states(), post.stages(), smtp_server.messages) == (["skipped"], [4], [])
    release(post, post.delivery().id)
    post.settle(worker)
    assert (post.states(), post.stages(), len(smtp_server.messages)) == (["sent"], [4], 1)
    assert [title for kind, title, _ in post.timeline(ticket_id) if kind == "notice"] == [
        "Creation notice not sent", "Send anyway: ticket created", "Creation notice sent",
    ]  # fmt: skip


def test_no_limit_holds_for_what_staff_let_go(post: Post, worker: DeliveryWorker) -> None:
    for _ in range(4):
        post.ticket("pat@clinic.example")
    post.settle(worker)
    assert post.states() == ["sent"] * 3 + ["skipped"]
    release(post, post.deliveries()[3].id)
    post.settle(worker)
    assert post.states() == ["sent"] * 4


@pytest.mark.parametrize(("code", "email"), [("own_address", "pat@clinic.example"), ("sender_not_verified", None)])
def test_nothing_goes_to_ourselves_or_to_nobody(post: Post, code: str, email: str | None) -> None:
    skipped(post, code, email)
    with pytest.raises(RefusedError):
        release(post, post.delivery().id)


def test_only_what_was_skipped_can_be_let_go_and_only_with_a_reason(post: Post, worker: DeliveryWorker) -> None:
    post.ticket()
    post.settle(worker)
    for delivery_id, reason, error in [(1, "x", RefusedError), (4711, "x", NotFoundError), (1, " ", RefusedError)]:
        with pytest.raises(error):
            release(post, delivery_id, reason)


def test_what_was_skipped_is_listed_with_its_reason(post: Post) -> None:
    first, second = skipped(post), skipped(post, "never_answer")
    with post.database.read() as session:
        rows = skipped_notices.list_skipped(session)
        assert [row["reason_code"] for row in rows] == ["never_answer", "sender_not_verified"]
        assert [row["ticket"] for row in skipped_notices.list_skipped(session, first)] == [rows[1]["ticket"]]
    assert second


def test_who_has_left_lets_nothing_go(post: Post) -> None:
    skipped(post)
    with pytest.raises(RefusedError, match="no longer active"):
        release(post, post.delivery().id, active=False)
    assert post.states() == ["skipped"]
