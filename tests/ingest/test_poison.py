from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from core import clock
from core.settings.sections import Limits
from ingest import parser_pool
from ingest.parser_pool import ParserPool
from tests.ingest.support import (
    Room,
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
def poisonable(monkeypatch: pytest.MonkeyPatch, make_room: Callable[..., Room]) -> Iterator[Room]:
    """A pipeline whose parser dies, hangs or raises where a mail tells it to: no input is known that does."""
    monkeypatch.setattr(parser_pool, "PROGRAM", parser_pool.PROGRAM.replace("main()", POISON + "main()"))
    pool = ParserPool(Limits(parser_processes=1, parser_wall_seconds=0.7))
    yield make_room(pool)
    pool.close()


@pytest.mark.parametrize(
    ("body", "code"), [("kill me", "killed"), ("hang me", "timeout"), ("raise me", "AssertionError")], ids=lambda value: value
)
def test_poison_is_quarantined_after_three_failures_alone_and_the_rest_goes_on(poisonable: Room, body: str, code: str) -> None:
    room = poisonable
    accepted = room.accept(*arrivals(3), arrival(make_mail("poison", body=body), "p"), *arrivals(3, first=10))
    room.drain()
    items = {item.id: item for item in room.items()}
    bad = items.pop(accepted[3].item_id)
    assert_all_tickets(list(items.values()))
    assert (bad.state, bad.disposition, bad.reason_code, bad.attempts) == ("waiting", "failed", code, 1)
    for attempts in (2, 2):
        room.make_due()
        room.drain()
        (bad,) = [item for item in room.items() if item.id == bad.id]
        assert bad.attempts == attempts
    assert (bad.state, bad.disposition, bad.reason_code) == ("settled", "quarantined", "unreadable")
    assert "3 times" in (bad.reason or "")
    assert code in (bad.reason or "")
    assert bad.ticket_id in {ticket.id for ticket in room.tickets()}
    assert notices(room)[bad.ticket_id or 0] == (False, "unreadable")
    assert all(item.attempts == 0 and item.losses == 0 for item in room.items() if item.id != bad.id)


def test_a_failed_item_waits_longer_each_time(poisonable: Room) -> None:
    room = poisonable
    room.accept(arrival(make_mail("poison", body="raise me")))
    pauses = []
    for _ in range(2):
        room.drain()
        pauses.append((room.items()[0].due_at - clock.now()).total_seconds())
        assert room.pipeline.drain() == 0, "it is not tried again at once"
        room.make_due()
    assert 0.5 < pauses[0] <= 2 < pauses[1] <= 4


def test_three_poisons_of_one_batch_condemn_none_of_the_others(poisonable: Room) -> None:
    room = poisonable
    bad = [arrival(make_mail(f"bad{number}", body="kill me"), f"bad{number}") for number in range(3)]
    room.accept(bad[0], *arrivals(20), bad[1], *arrivals(20, first=20), bad[2])
    for _ in range(3):
        room.drain()
        room.make_due()
    counts = Counter(item.disposition for item in room.items())
    assert counts == {"ticket": 40, "quarantined": 3}
    assert all(item.attempts == 0 for item in room.items() if item.disposition == "ticket")


def test_a_decision_that_raises_is_a_failure_of_its_item(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    plan = room.pipeline.planner.plan

    def odd(item: object, raw: bytes, answer: object) -> object:
        if b"Claim 3" in raw and type(answer).__name__ == "ParsedMail":
            raise KeyError("odd")
        return plan(item, raw, answer)  # type: ignore[arg-type]

    monkeypatch.setattr(type(room.pipeline.planner), "plan", lambda _self, *given: odd(*given))
    room.accept(*arrivals(6))
    for _ in range(4):
        room.drain()
        room.make_due()
    assert Counter((item.disposition, item.reason_code) for item in room.items()) == {
        ("ticket", "new_matter"): 5,
        ("quarantined", "unreadable"): 1,
    }
