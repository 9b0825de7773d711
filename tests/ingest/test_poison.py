from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from core import clock
from core.settings.sections import Limits
from ingest import parser_pool
from ingest.parser_pool import ParserPool
from tests.ingest.support import (
    IngestHarness,
    arrival,
    arrivals,
    assert_all_tickets,
    make_mail,
    notices,
)

POISON = (
    "import ingest.parsers.mail.message as m, os, signal\n"
    "parse = m.parse_mail\n"
    "def odd(data, options):\n"
    "    if b'kill me' in data:\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "    if b'hang me' in data:\n"
    "        signal.pause()\n"
    "    assert b'raise me' not in data\n"
    "    return parse(data, options)\n"
    "m.parse_mail = odd\n"
)


@pytest.fixture
def poisonable(monkeypatch: pytest.MonkeyPatch, make_harness: Callable[..., IngestHarness]) -> Iterator[IngestHarness]:
    """A pipeline whose parser dies, hangs or raises when a mail says so, because no real input is known that causes it."""
    monkeypatch.setattr(parser_pool, "PROGRAM", parser_pool.PROGRAM.replace("main()", POISON + "main()"))
    pool = ParserPool(Limits(parser_processes=1, parser_wall_seconds=0.7))
    yield make_harness(pool)
    pool.close()


@pytest.mark.parametrize(
    ("body", "code"), [("kill me", "killed"), ("hang me", "timeout"), ("raise me", "AssertionError")], ids=lambda value: value
)
def test_poison_mail_is_quarantined_after_three_failures_alone_and_the_others_become_tickets(
    poisonable: IngestHarness, body: str, code: str
) -> None:
    harness = poisonable
    accepted = harness.accept(*arrivals(3), arrival(make_mail("poison", body=body), "p"), *arrivals(3, first=10))
    harness.drain()
    items = {item.id: item for item in harness.items()}
    bad = items.pop(accepted[3].item_id)
    assert_all_tickets(list(items.values()))
    assert (bad.state, bad.disposition, bad.reason_code, bad.attempts) == ("waiting", "failed", code, 1)
    for attempts in (2, 2):
        harness.make_due()
        harness.drain()
        (bad,) = [item for item in harness.items() if item.id == bad.id]
        assert bad.attempts == attempts
    assert (bad.state, bad.disposition, bad.reason_code) == ("settled", "quarantined", "unreadable")
    assert "3 times" in (bad.reason or "")
    assert code in (bad.reason or "")
    assert bad.ticket_id in {ticket.id for ticket in harness.tickets()}
    assert notices(harness)[bad.ticket_id or 0] == (False, "unreadable")
    assert all(item.attempts == 0 and item.losses == 0 for item in harness.items() if item.id != bad.id)


def test_a_failed_item_waits_longer_each_time(poisonable: IngestHarness) -> None:
    harness = poisonable
    harness.accept(arrival(make_mail("poison", body="raise me")))
    delays = []
    for _ in range(2):
        harness.drain()
        delays.append((harness.items()[0].due_at - clock.now()).total_seconds())
        assert harness.pipeline.drain() == 0, "the item is due later"
        harness.make_due()
    assert 0.5 < delays[0] <= 2 < delays[1] <= 4


def test_three_poison_mails_of_one_batch_do_not_affect_the_others(poisonable: IngestHarness) -> None:
    harness = poisonable
    bad = [arrival(make_mail(f"bad{number}", body="kill me"), f"bad{number}") for number in range(3)]
    harness.accept(bad[0], *arrivals(20), bad[1], *arrivals(20, first=20), bad[2])
    for _ in range(3):
        harness.drain()
        harness.make_due()
    counts = Counter(item.disposition for item in harness.items())
    assert counts == {"ticket": 40, "quarantined": 3}
    assert all(item.attempts == 0 for item in harness.items() if item.disposition == "ticket")


def test_exception_in_a_decision_is_a_failure_of_its_item(monkeypatch: pytest.MonkeyPatch, harness: IngestHarness) -> None:
    plan = harness.pipeline.planner.plan

    def odd(item: object, raw: bytes, answer: object) -> object:
        if b"Claim 3" in raw and type(answer).__name__ == "ParsedMail":
            raise KeyError("odd")
        return plan(item, raw, answer)  # type: ignore[arg-type]

    monkeypatch.setattr(type(harness.pipeline.planner), "plan", lambda _self, *arguments: odd(*arguments))
    harness.accept(*arrivals(6))
    for _ in range(4):
        harness.drain()
        harness.make_due()
    assert Counter((item.disposition, item.reason_code) for item in harness.items()) == {
        ("ticket", "new_matter"): 5,
        ("quarantined", "unreadable"): 1,
    }
