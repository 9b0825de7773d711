"""Measure mail ingest: 1,000 mixed mails in a Dovecot mailbox → durable tickets with facts; notices on, default limits.

The comparisons are django-helpdesk's `get_email` on the same server and mails with notices off, the bare parse rate, and a
pipeline that only fetches, parses and inserts.

Embedded: `casemill run`, SQLite with synchronous=FULL. Scaled out: `casemill watch`, `casemill tick` and `dramatiq workers`
on PostgreSQL and Redis.

How each side is timed, so that neither start-up nor the server's notification delay counts:

- casemill: a running system that has ingested a hundred mails before, on servers that have seen one uncounted run. The clock
  starts when the server notifies its clients of the mails (at the latest half a second after the first was moved in). It stops
  when another process sees the last ticket committed. A second figure stops when the last notice is sent.
- The peer: its whole command on the full mailbox, minus the same command on an empty one.
- The floor: mail-parser alone in one process, times the number of cores.
- The bare pipeline: two processes; their start is not counted.

All sides run in turn. The figures are medians of the runs.

Run: python -m benchmarks.bench_ingest [--mails 1000] [--runs 3] [--mode embedded] [--mode "scaled out"] [--no-peer]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from benchmarks import bare_pipeline
from benchmarks.harness import (
    EMBEDDED,
    SCALED,
    Result,
    RunningCasemill,
    Testbed,
    format_runs,
    log_progress,
    median,
    record,
    wait_until,
)
from benchmarks.mails import make_mails
from benchmarks.peer_helpdesk import Peer, peer_version

#: Dovecot waits this long before it notifies clients of a delivery.
DOVECOT_DELAY_SECONDS = 0.5
#: Mails ingested before the timed ones. Once their notices are sent, every process has its connections and prepared statements,
#: as in a system that has run for a minute.
WARM_UP_MAILS = 100
DATABASE_NAMES = {EMBEDDED: "SQLite", SCALED: "PostgreSQL"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Mail ingest, against django-helpdesk and the bare parse rate.")
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mode", action="append", choices=(EMBEDDED, SCALED))
    parser.add_argument("--no-peer", action="store_true", help="without django-helpdesk")
    options = parser.parse_args()
    mails = list(make_mails(options.mails))
    with Testbed() as testbed:
        for mode in options.mode or [EMBEDDED, SCALED]:
            measure(testbed, mode, mails, options.runs, with_peer=not options.no_peer)


def measure(testbed: Testbed, mode: str, mails: Sequence[bytes], runs: int, *, with_peer: bool) -> None:
    """Run all sides of one mode in turn and record the results."""
    peer = Peer(testbed, mode) if with_peer else None
    # This run is not counted, because a new database server grows its files first.
    run_casemill(testbed, mode, mails)
    tickets, notices, peers, floors, bare = [], [], [], [], []
    for number in range(runs):
        ticket_seconds, notice_seconds = run_casemill(testbed, mode, mails)
        tickets.append(len(mails) / ticket_seconds)
        notices.append(len(mails) / notice_seconds)
        floors.append(parse_rate(mails) * (os.cpu_count() or 1))
        bare.append(len(mails) / run_bare(testbed, mode, mails))
        if peer:
            peers.append(len(mails) / run_peer(testbed, peer, mails))
        other_rates = f"floor {floors[-1]:.0f}, bare {bare[-1]:.0f}" + (f", peer {peers[-1]:.1f}" if peers else "")
        log_progress(f"{mode} run {number + 1}: tickets {tickets[-1]:.0f}/s, with all notices {notices[-1]:.0f}/s, {other_rates}")
    database = DATABASE_NAMES[mode]
    if peer:
        name = f"django-helpdesk {peer_version()}"
        record(
            Result(f"mail → ticket, {database}", median(tickets), "mails/s", name, median(peers), 10, note=format_runs(tickets))
        )
        both = f"mail → ticket → all notices sent, {database}"
        record(Result(both, median(notices), "mails/s", name, median(peers), note="the peer sends none; " + format_runs(notices)))
    floor = "half the parse floor is 0.5: mail-parser × cores"
    record(Result(f"mail → ticket, {database}, from below", median(tickets), "mails/s", floor, median(floors), 0.5))
    name = "fetch, parse and insert, nothing else"
    record(
        Result(f"mail → ticket, {database}, bare", median(tickets), "mails/s", name, median(bare), 0.6, note=format_runs(bare))
    )


def run_casemill(testbed: Testbed, mode: str, mails: Sequence[bytes]) -> tuple[float, float]:
    """Return the seconds until all tickets are committed and until all notices are sent, starting with an empty database."""
    user = testbed.new_user()
    with testbed.system(mode, user) as system:
        return ingest(testbed, system, user, mails)


def ingest(
    testbed: Testbed, system: RunningCasemill, user: str, mails: Sequence[bytes], min_notices: int | None = None
) -> tuple[float, float]:
    """Return the same two figures for ``system``, which must be stopped; start it and leave it running.

    At least ``min_notices`` notices must arrive, by default one for each mail. Raises SystemExit if fewer arrive, or if a mail
    has another outcome than a new ticket or a reply in one.
    """
    move_in = testbed.stage(user, mails)
    system.start()
    before = system.last_item_id()
    for mail in make_mails(WARM_UP_MAILS, seed=testbed.next_serial(), first=10**6):
        testbed.dovecot.deliver(user, mail)
    wait_until(lambda: system.has_processed(before, WARM_UP_MAILS) and system.is_idle(), "the warm-up mails")
    time.sleep(1.0)
    received_before, before = len(testbed.sink.received()), system.last_item_id()
    with testbed.idle_client(user) as notified_at:
        moved = move_in()
        wait_until(lambda: notified_at() or system.has_received(before, 1), "the notification of new mail")
        # If a regular poll finds the mails before the notification, the clock starts at the first mail.
        began = min(notified_at() or moved, moved + DOVECOT_DELAY_SECONDS)
    # Polling uses the same two cores, so it is limited to twenty times a second until all mails have arrived.
    wait_until(lambda: system.has_received(before, len(mails)), "the mails", pause=0.05)
    ticket_seconds = wait_until(lambda: not system.has_open_items(), "the tickets", pause=0.01) - began
    notice_seconds = wait_until(system.is_idle, "the notices") - began
    statement = "SELECT count(*) FROM inbound_item WHERE id > :before AND disposition NOT IN ('ticket', 'appended')"
    unexpected = system.query_value(statement, before=before)
    notice_count = len(testbed.sink.received()) - received_before
    if unexpected or notice_count < (len(mails) if min_notices is None else min_notices):
        raise SystemExit(f"{unexpected} mails have another outcome, {notice_count} notices arrived")
    return ticket_seconds, notice_seconds


def run_bare(testbed: Testbed, mode: str, mails: Sequence[bytes]) -> float:
    """Return the seconds of the bare pipeline on a mailbox that is full before it starts."""
    user = testbed.new_user()
    testbed.stage(user, mails)()
    return bare_pipeline.measure_seconds(testbed, mode, user, len(mails))


def run_peer(testbed: Testbed, peer: Peer, mails: Sequence[bytes]) -> float:
    """Return the seconds of the peer on a mailbox that is full before it starts, without its start-up time."""
    start = peer.measure_seconds(testbed.new_user(), 0)
    user = testbed.new_user()
    testbed.stage(user, mails)()
    return peer.measure_seconds(user, len(mails)) - start


def parse_rate(mails: Sequence[bytes]) -> float:
    """Return the mails a second that mail-parser alone parses on one core, with every part decoded."""
    import mailparser

    began = time.perf_counter()
    for mail in mails:
        parsed = mailparser.parse_from_bytes(mail)
        _ = parsed.subject, parsed.from_, parsed.text_plain, parsed.text_html, parsed.attachments
    return len(mails) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
