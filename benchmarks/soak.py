"""Run a soak test of the scaled-out mode: 50 mails and 50 Formstack posts a second, each answered by a notice.

The system is `casemill web`, `watch` and `tick` and `dramatiq workers` on PostgreSQL, Redis and Dovecot, with default settings
except the rate limits on automatic mail, which would defer most notices. The run takes minutes or an hour.

- Every item has its own sender, so the report can match each item with its ticket and its notice. A missing one counts as
  lost, a second one as doubled.
- Every five minutes the mails go to another mailbox; all mailboxes are watched from the start. In a single folder with a hundred
  thousand mails, the test would measure how long the mail server reads that folder at each notification.
- Latencies start at the delivery into the Maildir, or when a post was due. They end at the ticket's row, the response 200, and
  the final dot of the notice.
- Resident memory is read for each process and its children.

Run: python -m benchmarks.soak [--seconds 180] [--rate 50]     `make soak`; the report is written to benchmarks/SOAK.md
"""

from __future__ import annotations

import argparse
import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench_memory import resident_megabytes
from benchmarks.bench_webhook import CONNECTIONS, FORM, HANDSHAKE, KEY, exchange, make_request
from benchmarks.harness import SCALED, UNLIMITED, RunningCasemill, Testbed, log_progress, percentile, wait_until
from benchmarks.report import describe_machine

TARGET = Path(__file__).resolve().parent / "SOAK.md"
FORM_SECTION = f'[forms.{FORM}]\nsignature_keys = ["{KEY}"]\nhandshake_key = "{HANDSHAKE}"'
PROCESSES = ("watch", "tick", "dramatiq workers", "web")
IDLE_TIMEOUT_SECONDS = 120.0
#: How long the mails go to one mailbox before the next.
SECONDS_PER_MAILBOX = 300
WORDS = ["claim", "denied", "payer", "patient", "balance", "statement", "modifier", "appeal", "remittance", "deductible"]


@dataclass
class Load:
    """Submitted items by sender, with their times (`time.monotonic()`), and the response times of posts answered with 200."""

    mails: dict[str, float] = field(default_factory=dict)
    posts: dict[str, float] = field(default_factory=dict)
    answer_seconds: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description="Steady load for minutes or an hour, with a check for lost and doubled items.")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rate", type=int, default=50, help="mails a second, and posts a second")
    options = parser.parse_args()
    with Testbed() as testbed:
        users = [testbed.new_user() for _ in range(0, options.seconds, SECONDS_PER_MAILBOX)]
        others = [testbed.mailbox_section(user, user) for user in users[1:]]
        with testbed.system(SCALED, users[0]) as system:
            system.configure(users[0], "\n".join([*others, FORM_SECTION]), UNLIMITED)
            system.start(web=True)
            warm_up(testbed, system, users[0])
            load, memory = run(testbed, system, users, options.seconds, options.rate)
            lines = report(testbed, system, load, memory, options.seconds, options.rate)
    TARGET.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if not {"| lost | 0 | 0 |", "| doubled | 0 | 0 |"} <= set(lines):
        raise SystemExit(f"items were lost or doubled; see {TARGET}")


def warm_up(testbed: Testbed, system: RunningCasemill, user: str) -> None:
    """Pass one mail and one post through all processes, so that every process is ready."""
    testbed.dovecot.deliver(user, make_mail("first@clinic0.example", 0))
    wait_until(lambda: system.has_processed(0, 1) and system.is_idle(), "the first mail")
    wait_until(lambda: accepts_posts(system.port), "the web server")


def accepts_posts(port: int) -> bool:
    async def send_post() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await exchange(reader, writer, make_request(port, 1, "first@clinic1.example"))
        writer.close()

    try:
        asyncio.run(send_post())
    except OSError:
        return False
    return True


def run(
    testbed: Testbed, system: RunningCasemill, users: Sequence[str], seconds: int, rate: int
) -> tuple[Load, list[Mapping[str, float]]]:
    """Generate the load; return it with the memory of the processes at the start and after every tenth."""
    load, memory = Load(), [measure_memory(system)]
    started_at = time.monotonic() + 0.5
    posting = threading.Thread(target=lambda: asyncio.run(post_all(system.port, load, started_at, seconds * rate, rate)))
    posting.start()
    for number in range(seconds * rate):
        time.sleep(max(0.0, started_at + number / rate - time.monotonic()))
        sender = f"m{number}@clinic{number % 120}.example"
        load.mails[sender] = time.monotonic()
        testbed.dovecot.deliver(users[number // rate // SECONDS_PER_MAILBOX], make_mail(sender, number))
        if (number + 1) % (seconds * rate // 10) == 0:
            memory.append(measure_memory(system))
            log_progress(f"{number + 1} mails, {len(load.answer_seconds)} posts answered, {sum(memory[-1].values()):.0f} MB")
    posting.join()
    wait_until(lambda: system.has_processed(0, 2 + 2 * seconds * rate), "the tickets", IDLE_TIMEOUT_SECONDS)
    wait_until(system.is_idle, "the notices", IDLE_TIMEOUT_SECONDS)
    return load, memory


async def post_all(port: int, load: Load, started_at: float, count: int, rate: int) -> None:
    """Send posts at the steady rate over persistent connections; a refused post ends the run."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def post_one(number: int) -> None:
        sender = f"f{number}@clinic{number % 120}.example"
        load.posts[sender] = due = started_at + number / rate
        connection = await idle.get()
        await exchange(*connection, make_request(port, 1000 + number, sender))
        idle.put_nowait(connection)
        load.answer_seconds[sender] = time.monotonic() - due

    pending = set()
    for number in range(count):
        await asyncio.sleep(max(0.0, started_at + number / rate - time.monotonic()))
        task = asyncio.create_task(post_one(number))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)


def make_mail(sender: str, number: int) -> bytes:
    source = random.Random(number)  # noqa: S311 - reproducible, not secret
    text = "\r\n".join(" ".join(source.choices(WORDS, k=12)) for _ in range(6))
    moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    head = f"From: <{sender}>\r\nTo: support@mill.example\r\nSubject: Claim {number}\r\nMessage-ID: <soak.{number}@{sender}>\r\n"
    return (head + f"Date: {moment}\r\n\r\n{text}\r\n").encode()


def measure_memory(system: RunningCasemill) -> Mapping[str, float]:
    """Return the resident megabytes of each command, including its children."""
    return {name: sum(map(resident_megabytes, process_tree(pid))) for name, pid in zip(PROCESSES, system.pids, strict=True)}


def process_tree(pid: int) -> list[int]:
    """Return the ids of a process and of all its descendants (proc(5), children)."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in path.read_text().split()] if path.exists() else []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        if thread.name != str(pid):
            children += [int(child) for child in (thread / "children").read_text().split()]
    return [pid, *(one for child in children for one in process_tree(child))]


def report(
    testbed: Testbed, system: RunningCasemill, load: Load, memory: Sequence[Mapping[str, float]], seconds: int, rate: int
) -> list[str]:
    """Return the lines of the Markdown report, beginning with lost and doubled items."""
    submitted = load.mails | load.posts
    # The rows have wall-clock times; the load has monotonic ones.
    shift = time.time() - time.monotonic()
    statement = (
        "SELECT c.email, count(*), min(extract(epoch FROM t.created_at)) FROM ticket t JOIN contact c ON c.id = t.requester_id"
        " GROUP BY c.email"
    )
    rows = {str(email): (int(count), float(at) - shift) for email, count, at in system.query_rows(statement)}
    notices: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for recipient, moment in testbed.sink.received():
        counts[recipient] += 1
        notices.setdefault(recipient, moment)
    lost = [one for one in submitted if one not in rows], [one for one in submitted if one not in notices]
    doubled = [one for one in submitted if rows.get(one, (1, 0))[0] > 1], [one for one in submitted if counts[one] > 1]
    machine = f"{describe_machine()}; load and servers on the same machine"
    return [
        "# Soak",
        "",
        f"Written by `make soak` on {datetime.now(UTC):%d %B %Y, %H:%M UTC} and not by hand. {machine}.",
        f"{rate} mails and {rate} posts a second for {seconds} s: {len(submitted):,} items, {sum(counts.values()):,} mails sent,",
        "in the scaled-out mode (PostgreSQL, Redis, two worker processes).",
        "",
        "| | tickets | creation notices |",
        "|---|---|---|",
        f"| lost | {len(lost[0])} | {len(lost[1])} |",
        f"| doubled | {len(doubled[0])} | {len(doubled[1])} |",
        "",
        "| from, to | median | p95 | p99 | slowest |",
        "|---|---|---|---|---|",
        latency_row("mail delivered → ticket", [rows[one][1] - at for one, at in load.mails.items() if one in rows]),
        latency_row("post due → 200", list(load.answer_seconds.values())),
        latency_row("mail delivered → notice sent", [notices[one] - at for one, at in load.mails.items() if one in notices]),
        latency_row("post due → notice sent", [notices[one] - at for one, at in load.posts.items() if one in notices]),
        "",
        "| memory, MB, with children | at the begin | half-way | at the end |",
        "|---|---|---|---|",
        *(memory_row(name, memory) for name in PROCESSES),
    ]


def memory_row(name: str, memory: Sequence[Mapping[str, float]]) -> str:
    figures = (memory[number][name] for number in (0, len(memory) // 2, -1))
    return f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |"


def latency_row(name: str, seconds: Sequence[float]) -> str:
    figures = [percentile(seconds, share) for share in (0.5, 0.95, 0.99)]
    return f"| {name} | " + " | ".join(f"{figure:.2f} s" for figure in [*figures, max(seconds)]) + " |"


if __name__ == "__main__":
    main()
