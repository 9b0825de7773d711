"""Measures how long a mail takes: delivered to the mailbox → ticket committed (IDLE) → notice taken by the SMTP server.

A running `casemill run` (SQLite with synchronous=FULL, defaults) gets one mail at a time, at irregular moments, from another
sender each. Moments are those of the delivery into the Maildir, of the ticket seen in the database from another process
(which looks every 10 ms), and of the final dot at the server. Half a second of each is Dovecot's, which tells its clients of a
delivery only then. 95th percentiles; there is no other side, the figures to reach are 2 s and 5 s.

Run: python -m benchmarks.bench_latency [--mails 60]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from benchmarks.harness import EMBEDDED, Result, RunningCasemill, Scene, percentile, record, wait
from benchmarks.mails import SENDERS, make_mails, sender_address


def main() -> None:
    parser = argparse.ArgumentParser(description="From delivery to ticket, and to the notice.")
    parser.add_argument("--mails", type=int, default=60)
    options = parser.parse_args()
    if options.mails >= SENDERS:
        raise SystemExit(f"fewer than {SENDERS} mails: every sender writes one")
    with Scene() as scene:
        user = scene.new_user()
        with scene.system(EMBEDDED, user) as system:
            system.start()
            scene.dovecot.deliver(user, next(make_mails(1, seed=9, first=SENDERS - 1)))
            wait(lambda: system.settled(0, 1) and system.at_rest(), "the first mail")
            tickets, notices = measure(scene, system, user, options.mails)
    for what, seconds, reach in (("ticket", tickets, 2.0), ("notice at the SMTP server", notices, 5.0)):
        note = f"median {percentile(seconds, 0.5):.2f} s, slowest {max(seconds):.2f} s of {len(seconds)}"
        record(Result(f"mail delivered → {what}, p95", percentile(seconds, 0.95), "s", reach=reach, most=True, note=note))


def measure(scene: Scene, system: RunningCasemill, user: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds to the ticket and to the notice, of each mail."""
    pauses = random.Random(1)  # noqa: S311 - reproducible, not secret
    delivered: list[float] = []
    tickets: list[float] = []
    for mail in make_mails(count, seed=2, kinds=("plain", "html", "attachment", "charset")):
        before = system.last_item()
        delivered.append(time.monotonic())
        scene.dovecot.deliver(user, mail)
        tickets.append(wait(lambda before=before: system.settled(before, 1), "a ticket", pause=0.01) - delivered[-1])  # type: ignore[misc]
        time.sleep(pauses.uniform(0.05, 0.6))
    wait(system.at_rest, "the notices")
    taken = dict(scene.sink.taken())
    return tickets, _until(delivered, [taken[sender_address(number)] for number in range(count)])


def _until(begins: Sequence[float], ends: Sequence[float]) -> list[float]:
    return [end - begin for begin, end in zip(begins, ends, strict=True)]


if __name__ == "__main__":
    main()
