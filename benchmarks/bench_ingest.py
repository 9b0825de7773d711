"""Measures mail in: 1,000 mixed mails in a Dovecot mailbox → durable tickets with facts, notices running, default limits;
against django-helpdesk's `get_email` on the same server and mails with notices off, against the bare parse rate, and against a
pipeline that does nothing but fetch, parse and insert.

Embedded: `casemill run`, SQLite with synchronous=FULL. Scaled out: `casemill watch`, `casemill tick` and `dramatiq workers`
on PostgreSQL and Redis. What is timed, casemill: a running one, from the moment at which the server tells its clients of the
mails (half a second after the first was moved in, at the latest) to the last ticket seen committed from another process;
beside it, until the last notice was sent as well. It has taken in a hundred mails before, and the servers have seen one run
that is not counted. The peer: its whole command on the full mailbox less the same command on an empty one. So neither pays
for its start, nor for the waiting of the server. The floor is mail-parser in one process alone, times the cores; the bare
pipeline has two processes, and its start is not counted. All run in turn; medians of the runs.

Run: python -m benchmarks.bench_ingest [--mails 1000] [--runs 3] [--mode embedded] [--mode "scaled out"] [--no-peer]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from benchmarks import bare_pipeline
from benchmarks.harness import EMBEDDED, SCALED, Result, RunningCasemill, Scene, median, record, say, spread, wait
from benchmarks.mails import make_mails
from benchmarks.peer_helpdesk import Peer, version

#: Dovecot waits this long before it tells anybody of a delivery.
SERVER_SECONDS = 0.5
#: Mails before those that are timed: when their notices are out every process is up, has its connections and has made the
#: statements it needs, as any that has worked for a minute.
FIRST_MAILS = 100
DATABASES = {EMBEDDED: "SQLite", SCALED: "PostgreSQL"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Mail in, against django-helpdesk and the bare parse rate.")
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mode", action="append", choices=(EMBEDDED, SCALED))
    parser.add_argument("--no-peer", action="store_true", help="without django-helpdesk")
    options = parser.parse_args()
    mails = list(make_mails(options.mails))
    with Scene() as scene:
        for mode in options.mode or [EMBEDDED, SCALED]:
            measure(scene, mode, mails, options.runs, with_peer=not options.no_peer)


def measure(scene: Scene, mode: str, mails: Sequence[bytes], runs: int, *, with_peer: bool) -> None:
    """All runs of one mode in turn, and their lines."""
    peer = Peer(scene, mode) if with_peer else None
    run_casemill(scene, mode, mails)  # not counted: a database server that has just been made grows its files first
    tickets, notices, peers, floors, bare = [], [], [], [], []
    for number in range(runs):
        ticketed, at_rest = run_casemill(scene, mode, mails)
        tickets.append(len(mails) / ticketed)
        notices.append(len(mails) / at_rest)
        floors.append(parse_rate(mails) * (os.cpu_count() or 1))
        bare.append(len(mails) / run_bare(scene, mode, mails))
        if peer:
            peers.append(len(mails) / run_peer(scene, peer, mails))
        others = f"floor {floors[-1]:.0f}, bare {bare[-1]:.0f}" + (f", peer {peers[-1]:.1f}" if peers else "")
        say(f"{mode} run {number + 1}: tickets {tickets[-1]:.0f}/s, with all notices {notices[-1]:.0f}/s, {others}")
    database = DATABASES[mode]
    if peer:
        name = f"django-helpdesk {version()}"
        record(Result(f"mail → ticket, {database}", median(tickets), "mails/s", name, median(peers), 10, note=spread(tickets)))
        both = f"mail → ticket → all notices sent, {database}"
        record(Result(both, median(notices), "mails/s", name, median(peers), note="the peer sends none; " + spread(notices)))
    floor = "half the parse floor is 0.5: mail-parser × cores"
    record(Result(f"mail → ticket, {database}, from below", median(tickets), "mails/s", floor, median(floors), 0.5))
    name = "fetch, parse and insert, nothing else"
    record(Result(f"mail → ticket, {database}, bare", median(tickets), "mails/s", name, median(bare), 0.6, note=spread(bare)))


def run_casemill(scene: Scene, mode: str, mails: Sequence[bytes]) -> tuple[float, float]:
    """Seconds until all tickets are committed, and until all notices are sent as well, beginning with an empty database."""
    user = scene.new_user()
    with scene.system(mode, user) as system:
        return ingest(scene, system, user, mails)


def ingest(
    scene: Scene, system: RunningCasemill, user: str, mails: Sequence[bytes], told: int | None = None
) -> tuple[float, float]:
    """The same with a system that is given, and not running; it runs afterwards. ``told``: as many notices arrive at least."""
    move_in = scene.stage(user, mails)
    system.start()
    before = system.last_item()
    for mail in make_mails(FIRST_MAILS, seed=scene.serial(), first=10**6):
        scene.dovecot.deliver(user, mail)
    wait(lambda: system.settled(before, FIRST_MAILS) and system.at_rest(), "the first mails")
    time.sleep(1.0)
    taken, before = len(scene.sink.taken()), system.last_item()
    with scene.told(user) as heard:
        moved = move_in()
        wait(lambda: heard() or system.arrived(before, 1), "news of the mails")
        # Who looked without having been told, because it was just time to look, is timed from the first mail on.
        began = min(heard() or moved, moved + SERVER_SECONDS)
    # Looking on takes from the same two cores: twenty times a second is often enough until all have arrived.
    wait(lambda: system.arrived(before, len(mails)), "the mails", pause=0.05)
    ticketed = wait(lambda: not system.has_open_items(), "the tickets", pause=0.01) - began
    at_rest = wait(system.at_rest, "the notices") - began
    statement = "SELECT count(*) FROM inbound_item WHERE id > :before AND disposition NOT IN ('ticket', 'appended')"
    odd = system.ask(statement, before=before)
    arrived = len(scene.sink.taken()) - taken
    if odd or arrived < (len(mails) if told is None else told):
        raise SystemExit(f"{odd} mails have another outcome, {arrived} notices arrived")
    return ticketed, at_rest


def run_bare(scene: Scene, mode: str, mails: Sequence[bytes]) -> float:
    """Seconds of the bare pipeline on a mailbox that is full before it starts."""
    user = scene.new_user()
    scene.stage(user, mails)()
    return bare_pipeline.seconds(scene, mode, user, len(mails))


def run_peer(scene: Scene, peer: Peer, mails: Sequence[bytes]) -> float:
    """Seconds of the peer's work on a mailbox that is full before it starts."""
    start = peer.seconds(scene.new_user(), 0)
    user = scene.new_user()
    scene.stage(user, mails)()
    return peer.seconds(user, len(mails)) - start


def parse_rate(mails: Sequence[bytes]) -> float:
    """Mails a second and core of mail-parser alone, every part decoded."""
    import mailparser

    began = time.perf_counter()
    for mail in mails:
        parsed = mailparser.parse_from_bytes(mail)
        _ = parsed.subject, parsed.from_, parsed.text_plain, parsed.text_html, parsed.attachments
    return len(mails) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
