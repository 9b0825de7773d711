"""Measure the latency of a mail: delivered to the mailbox → ticket committed (IDLE) → notice received by the SMTP server.

A running `casemill run` (SQLite with synchronous=FULL, default settings) receives one mail at a time, at irregular intervals,
each from a different sender. The timestamps are the delivery into the Maildir, the ticket seen in the database by another
process (which polls every 10 ms), and the final dot at the SMTP server. Half a second of each latency is Dovecot's
notification delay. The figures are 95th percentiles. There is no comparison; the targets are 2 s and 5 s.

Run: python -m benchmarks.bench_latency [--mails 60]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from benchmarks.harness import EMBEDDED, Result, RunningCasemill, Testbed, percentile, record, wait_until
from benchmarks.mails import SENDER_COUNT, make_mails, sender_address


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency from delivery to ticket, and to notice.")
    parser.add_argument("--mails", type=int, default=60)
    options = parser.parse_args()
    if options.mails >= SENDER_COUNT:
        raise SystemExit(f"--mails must be less than {SENDER_COUNT}: every mail needs its own sender")
    with Testbed() as testbed:
        user = testbed.new_user()
        with testbed.system(EMBEDDED, user) as system:
            system.start()
            testbed.dovecot.deliver(user, next(make_mails(1, seed=9, first=SENDER_COUNT - 1)))
            wait_until(lambda: system.has_processed(0, 1) and system.is_idle(), "the first mail")
            tickets, notices = measure(testbed, system, user, options.mails)
    for what, seconds, reach in (("ticket", tickets, 2.0), ("notice at the SMTP server", notices, 5.0)):
        note = f"median {percentile(seconds, 0.5):.2f} s, slowest {max(seconds):.2f} s of {len(seconds)}"
        record(Result(f"mail delivered → {what}, p95", percentile(seconds, 0.95), "s", reach=reach, most=True, note=note))


def measure(testbed: Testbed, system: RunningCasemill, user: str, count: int) -> tuple[list[float], list[float]]:
    """Return the seconds to the ticket and to the notice of each mail."""
    pauses = random.Random(1)  # noqa: S311 - reproducible, not secret
    delivered: list[float] = []
    tickets: list[float] = []
    for mail in make_mails(count, seed=2, kinds=("plain", "html", "attachment", "charset")):
        before = system.last_item_id()
        delivered.append(time.monotonic())
        testbed.dovecot.deliver(user, mail)
        tickets.append(wait_until(lambda before=before: system.has_processed(before, 1), "a ticket", pause=0.01) - delivered[-1])  # type: ignore[misc]
        time.sleep(pauses.uniform(0.05, 0.6))
    wait_until(system.is_idle, "the notices")
    received = dict(testbed.sink.received())
    return tickets, _elapsed(delivered, [received[sender_address(number)] for number in range(count)])


def _elapsed(starts: Sequence[float], ends: Sequence[float]) -> list[float]:
    return [end - start for start, end in zip(starts, ends, strict=True)]


if __name__ == "__main__":
    main()
