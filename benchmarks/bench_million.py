"""Measure whether a million tickets slow casemill down: ingest of 1,000 mails, compared with an empty database, in turn.

The script builds the large database from a real one (1,000 mixed mails ingested) by copying rows with SQL: tickets, people,
timeline, threads, files, ledger, notices. On the large database it then measures the 95th percentile of listing each view and
of showing single tickets, with the functions behind `casemill tickets` and the pages, each call in its own session. SQLite
with synchronous=FULL, `casemill run`.

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
from benchmarks.harness import (
    EMBEDDED,
    UNLIMITED,
    Result,
    RunningCasemill,
    Testbed,
    format_runs,
    log_progress,
    median,
    percentile,
    record,
)
from benchmarks.mails import make_mails
from benchmarks.multiply import multiply
from core import clock
from core.database.session import Database
from tickets import queries

SAMPLE_MAILS = 1000
QUERIES_PER_VIEW = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Ingest and queries with a million tickets present.")
    parser.add_argument("--tickets", type=int, default=1_000_000)
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with Testbed() as testbed, testbed.system(EMBEDDED) as large:
        total = fill(testbed, large, options.tickets)
        full, empty = [], []
        for number in range(options.runs):
            # Each run needs new mail numbers, because repeated mails would be duplicates.
            mails = list(make_mails(options.mails, first=(number + 2) * 100_000))
            full.append(options.mails / run_large(testbed, large, mails))
            empty.append(options.mails / run_casemill(testbed, EMBEDDED, mails)[0])
            log_progress(f"run {number + 1}: {full[-1]:.0f}/s with {total} tickets, {empty[-1]:.0f}/s with none")
        name = f"ingest with {total:,} tickets present"
        record(Result(name, median(full), "mails/s", "empty database", median(empty), 0.9, note=format_runs(full)))
        measure_queries(Path(large.data / "casemill.db"), total)


def fill(testbed: Testbed, system: RunningCasemill, tickets: int) -> int:
    """Build the large database in ``system`` and return its number of tickets."""
    user = testbed.new_user()
    system.configure(user)
    ingest(testbed, system, user, list(make_mails(SAMPLE_MAILS)))
    system.stop()
    log_progress("copying rows")
    began = time.monotonic()
    total = multiply(system.data / "casemill.db", tickets)
    # Otherwise the kernel would still write these gigabytes to disk during the first run.
    os.sync()
    log_progress(f"{total} tickets after {time.monotonic() - began:.0f} s")
    return total


def run_large(testbed: Testbed, system: RunningCasemill, mails: list[bytes]) -> float:
    """Return the seconds until ``mails`` are tickets in the large database."""
    user = testbed.new_user()
    system.configure(user, notices=UNLIMITED)
    # The same customers write in every run and get at most ten automatic mails a day, so some get no notice.
    seconds, _ = ingest(testbed, system, user, mails, min_notices=1)
    system.stop()
    return seconds


def measure_queries(path: Path, total: int) -> None:
    database = Database(f"sqlite:///{path}")
    source = random.Random(1)  # noqa: S311 - reproducible, not secret
    views = [view for view in queries.VIEWS for _ in range(QUERIES_PER_VIEW)]
    source.shuffle(views)
    lists = [_time_call(lambda view=view: _list_view(database, view)) for view in views]  # type: ignore[misc]
    pages = [_time_call(lambda: _show_ticket(database, source.randint(1, total))) for _ in range(QUERIES_PER_VIEW * 3)]
    database.close()
    for what, seconds in (("list of a view", lists), ("one ticket", pages)):
        milliseconds = percentile(seconds, 0.95) * 1000
        note = f"{len(seconds)} queries, slowest {max(seconds) * 1000:.1f} ms"
        record(Result(f"{what} at {total:,} tickets, p95", milliseconds, "ms", reach=100, most=True, note=note))


def _list_view(database: Database, view: str) -> None:
    with database.read() as session:
        queries.list_tickets(session, view, clock.now())


def _show_ticket(database: Database, ticket_id: int) -> None:
    with database.read() as session:
        if queries.show(session, ticket_id) is None:
            raise SystemExit(f"there is no ticket {ticket_id}")


def _time_call(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
