from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.settings.sections import Limits
from ingest.decisions.outcome import Plan
from ingest.ledger import claims, types
from ingest.parser_pool import ParserPool
from tests.ingest.support import (
    SECURE,
    Room,
    arrival,
    arrivals,
    assert_all_tickets,
    form_arrival,
    mail_with_file,
    make_form,
    make_mail,
    make_row,
    make_workbook,
    notices,
)

ROOT = Path(__file__).parents[2]


def test_a_claim_that_ended_gives_its_items_back_as_singles_and_counts_a_loss(room: Room) -> None:
    room.accept(*arrivals(5))
    assert len(claims.claim(room.database, "dead", 100)) == 5
    assert claims.recover_expired(room.database) == 0, "it has not ended yet"
    assert room.pipeline.drain() == 0
    assert room.expire() == 5
    assert {(item.state, item.losses, item.alone, item.attempts) for item in room.items()} == {("waiting", 1, True, 0)}
    assert [room.pipeline.drain() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert_all_tickets(room.items())


def test_what_kills_the_whole_process_is_quarantined_after_ten_losses_and_condemns_no_other(room: Room) -> None:
    """Each time the process dies with what it has in its hands; singles are taken one at a time."""
    room.accept(*arrivals(20))
    poison = room.items()[0].id
    deaths = 0
    while taken := claims.claim(room.database, f"process {deaths}", 100):
        if poison in {item.id for item in taken} and taken[0].losses < types.MAX_LOSSES:
            deaths += 1
            room.expire()
        else:
            claims.release(room.database, f"process {deaths}")
            assert room.pipeline.drain() == len(taken)
    assert deaths == types.MAX_LOSSES
    items = {item.id: item for item in room.items()}
    bad = items.pop(poison)
    assert (bad.disposition, bad.reason_code) == ("quarantined", "lost_too_often")
    assert bad.ticket_id
    assert_all_tickets(list(items.values()))
    assert {item.losses for item in items.values()} == {1}


def test_what_was_lost_too_often_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    room.accept(arrival(make_mail()))
    room.sql("UPDATE inbound_item SET losses = 10, alone = :yes", yes=True)
    seen: list[object] = []

    def watch(tasks: list[object], **_given: object) -> list[object]:
        seen.extend(tasks)
        return []

    monkeypatch.setattr(room.pool, "parse", watch)
    room.drain()
    assert seen == []
    assert room.items()[0].reason_code == "lost_too_often"


def test_a_claim_lost_on_the_way_stores_nothing(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    """A process that was suspended wakes when its items are settled by another: it must not touch them."""
    room.accept(*arrivals(3))
    plan = room.pipeline._plan

    def suspended(items: object) -> object:
        plans = plan(items)  # type: ignore[arg-type]
        monkeypatch.undo()
        assert room.expire() == 3
        room.drain()
        return plans

    monkeypatch.setattr(room.pipeline, "_plan", suspended)
    room.pipeline.drain()
    assert_all_tickets(room.items())
    assert len(room.tickets()) == 3


def test_a_failure_under_a_lost_claim_does_not_open_a_settled_item_again(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    room.accept(*arrivals(1))
    give_up = room.pipeline._give_up_or_retry

    def failing(*_given: object) -> None:
        raise ValueError("what a statement may raise")

    def woken(token: str, plan: Plan, error: Exception) -> None:
        monkeypatch.undo()
        assert room.expire() == 1
        room.drain()
        give_up(token, plan, error)

    monkeypatch.setattr(room.pipeline, "_store", failing)
    monkeypatch.setattr(room.pipeline, "_give_up_or_retry", woken)
    room.pipeline.drain()
    room.make_due()
    room.drain()
    assert_all_tickets(room.items())
    assert len(room.tickets()) == 1


def test_a_batch_whose_children_cannot_be_started_is_given_back_as_it_was(
    monkeypatch: pytest.MonkeyPatch, make_room: Callable[..., Room]
) -> None:
    pool = ParserPool(Limits(parser_processes=1))
    room = make_room(pool)
    room.accept(*arrivals(3))
    for worker in list(pool._keeper._children):
        os.kill(worker.pid, signal.SIGKILL)
        worker._process.wait()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(12):
        with pytest.raises(OSError, match="nowhere"):
            room.pipeline.drain()
    assert {(item.state, item.attempts, item.losses, item.alone) for item in room.items()} == {("waiting", 0, 0, False)}
    monkeypatch.undo()
    room.drain()
    pool.close()
    assert_all_tickets(room.items())


def test_two_pipelines_at_once_never_double(make_room: Callable[..., Room]) -> None:
    rooms = [make_room(limits={"batch": 7}) for _ in range(3)]
    rooms[0].accept(*arrivals(60))
    rooms[1].accept(*(arrival(make_mail(number, headers=["Received: two"]), f"b{number}") for number in range(60)))
    start = threading.Barrier(3)

    def work(room: Room) -> None:
        start.wait(30)
        room.drain()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, rooms))
    rooms[0].drain()
    items = rooms[0].items()
    assert {item.state for item in items} == {"settled"}
    assert Counter(item.disposition for item in items) == {"ticket": 60, "duplicate": 60}
    assert len(rooms[0].tickets()) == 60
    assert Counter(item.ticket_id for item in items) == {ticket.id: 2 for ticket in rooms[0].tickets()}


def test_a_batch_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    monkeypatch.setattr(claims, "BATCH_BYTES", 10_000)
    room.accept(*(arrival(make_mail(number, body="x" * 4_000), f"{number}") for number in range(5)))
    room.accept(arrival(make_mail("big", body="x\r\n" * 10_000), "big"))
    assert [room.pipeline.drain() for _ in range(5)] == [2, 2, 1, 1, 0]
    assert_all_tickets(room.items())


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from tests.ingest.support import open_room, settings_for
pool = ParserPool(Limits(parser_processes=1))
room = open_room(settings_for({url!r}, Path({folder!r})), pool)
room.drain()
room.database.close()
pool.close()
"""


def run_in_another_process(url: str, folder: Path, crash_at: str = "") -> int:
    program = PROGRAM.format(root=str(ROOT), url=url, folder=str(folder))
    environment = {"PATH": os.environ["PATH"], **({"CASEMILL_CRASH_AT": crash_at} if crash_at else {})}
    return subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize("failpoint", ["ingest.claimed", "ingest.parsed", "ingest.storing", "ingest.stored", "workbook.chunk"])
def test_after_a_kill_at_any_moment_each_item_has_its_one_ticket(
    failpoint: str, room: Room, database_url: str, tmp_path: Path
) -> None:
    rows = [make_row(number) for number in range(450)] if failpoint == "workbook.chunk" else [make_row(1), make_row(2)]
    mail = mail_with_file("export.xlsx", make_workbook(*rows), sender=SECURE)
    room.accept(*arrivals(4), form_arrival(make_form()), arrival(mail, "w"))
    url = str(room.settings.database_url)
    assert run_in_another_process(url, tmp_path, failpoint) == -signal.SIGKILL
    room.expire()
    assert run_in_another_process(url, tmp_path) == 0
    expected = {"ticket": 5 + len(rows), "expanded": 2}
    assert Counter(item.disposition for item in room.items()) == expected
    assert {item.state for item in room.items()} == {"settled"}
    assert len(room.tickets()) == 5 + len(rows)
    assert len({item.ticket_id for item in room.items() if item.disposition == "ticket"}) == 5 + len(rows)
    (workbook,) = room.items(kind="workbook")
    assert workbook.reason == f"{len(rows)} rows: {len(rows)} new, 0 known before"
    assert len(notices(room)) == 5 + len(rows)
