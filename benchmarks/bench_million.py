"""Measures whether a million tickets make casemill slower: 1,000 mails in, against the same with an empty database, in turn.

The large database is made of a real one (1,000 mixed mails taken in) by copying its rows with SQL: tickets, people, timeline,
threads, files, ledger, notices. Then, on the large one, the 95th percentile of the list of each view and of single tickets, by
the functions behind `casemill tickets` and the pages, each call in a session of its own. SQLite with synchronous=FULL,
`casemill run`.

Run: python -m benchmarks.bench_million [--tickets 1000000] [--mails 1000] [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench_ingest import ingest, run_casemill
from benchmarks.harness import EMBEDDED, UNLIMITED, Result, RunningCasemill, Scene, median, percentile, record, say, spread
from benchmarks.mails import make_mails
from benchmarks.multiply import multiply
from core import clock
from core.database.session import Database
from tickets import queries

SAMPLE = 1000
ASKED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Ingest and queries with a million tickets present.")
    parser.add_argument("--tickets", type=int, default=1_000_000)
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with Scene() as scene, scene.system(EMBEDDED) as large:
        total = fill(scene, large, options.tickets)
        full, empty = [], []
        for number in range(options.runs):
            # Mails of different numbers each time: the same ones would be duplicates.
            mails = list(make_mails(options.mails, first=(number + 2) * 100_000))
            full.append(options.mails / run_large(scene, large, mails))
            empty.append(options.mails / run_casemill(scene, EMBEDDED, mails)[0])
            say(f"run {number + 1}: {full[-1]:.0f}/s with {total} tickets, {empty[-1]:.0f}/s with none")
        name = f"ingest with {total:,} tickets present"
        record(Result(name, median(full), "mails/s", "empty database", median(empty), 0.9, note=spread(full)))
        measure_queries(Path(large.data / "casemill.db"), total)


def fill(scene: Scene, system: RunningCasemill, tickets: int) -> int:
    """The large database, in ``system``; answers its number of tickets."""
    user = scene.new_user()
    system.configure(user)
    ingest(scene, system, user, list(make_mails(SAMPLE)))
    system.stop()
    say("copying rows")
    began = time.monotonic()
    total = multiply(system.data / "casemill.db", tickets)
    os.sync()  # gigabytes just written would be on their way to the disk while the first run is measured
    say(f"{total} tickets after {time.monotonic() - began:.0f} s")
    return total


def run_large(scene: Scene, system: RunningCasemill, mails: list[bytes]) -> float:
    """Seconds until ``mails`` are tickets, in the large database."""
    user = scene.new_user()
    system.configure(user, notices=UNLIMITED)
    # The same customers write in every run, and get ten automatic mails a day: not all of them are told.
    seconds, _ = ingest(scene, system, user, mails, told=1)
    system.stop()
    return seconds


def measure_queries(path: Path, total: int) -> None:
    database = Database(f"sqlite:///{path}")
    source = random.Random(1)  # noqa: S311 - reproducible, not secret
    views = [view for view in queries.VIEWS for _ in range(ASKED)]
    source.shuffle(views)
    lists = [_seconds(lambda view=view: _list(database, view)) for view in views]  # type: ignore[misc]
    pages = [_seconds(lambda: _show(database, source.randint(1, total))) for _ in range(ASKED * 3)]
    database.close()
    for what, seconds in (("list of a view", lists), ("one ticket", pages)):
        milliseconds = percentile(seconds, 0.95) * 1000
        note = f"{len(seconds)} queries, slowest {max(seconds) * 1000:.1f} ms"
        record(Result(f"{what} at {total:,} tickets, p95", milliseconds, "ms", reach=100, most=True, note=note))


def _list(database: Database, view: str) -> None:
    with database.read() as session:
        queries.list_tickets(session, view, clock.now())


def _show(database: Database, ticket_id: int) -> None:
    with database.read() as session:
        if queries.show(session, ticket_id) is None:
            raise SystemExit(f"there is no ticket {ticket_id}")


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
