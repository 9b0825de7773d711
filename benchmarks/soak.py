"""Soaks the scaled-out mode: 50 mails and 50 Formstack posts a second, each answered by a notice, for minutes or an hour.

`casemill web`, `watch` and `tick` and `dramatiq workers` on PostgreSQL, Redis and a Dovecot mailbox, defaults but for the limits
on automatic mail, which are there to stop just this. Every item comes from a sender of its own, so that at the end each can be
held against its ticket and its notice: what is missing is lost, what is there twice is doubled. Every five minutes the mails go
to the next of as many mailboxes, all watched from the begin: a folder with a hundred thousand mails would measure how long the
mail server reads it at each news. Latencies are from the delivery
into the Maildir, or from the moment at which a post was due, to the ticket's row, the answer 200, and the final dot of the
notice; resident memory is read of each process and its children.

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

from benchmarks.bench_memory import resident
from benchmarks.bench_webhook import CONNECTIONS, FORM, HANDSHAKE, KEY, exchange, make_request
from benchmarks.harness import SCALED, UNLIMITED, RunningCasemill, Scene, percentile, say, wait
from benchmarks.report import describe_machine

TARGET = Path(__file__).resolve().parent / "SOAK.md"
FORM_SECTION = f'[forms.{FORM}]\nsignature_keys = ["{KEY}"]\nhandshake_key = "{HANDSHAKE}"'
PROCESSES = ("watch", "tick", "dramatiq workers", "web")
REST_SECONDS = 120.0
#: So long the mails of a run go to one mailbox.
MAILBOX_SECONDS = 300
WORDS = ["claim", "denied", "payer", "patient", "balance", "statement", "modifier", "appeal", "remittance", "deductible"]


@dataclass
class Load:
    """What was given, by sender: moments of `time.monotonic()`. ``answered`` are the posts that got their 200."""

    mails: dict[str, float] = field(default_factory=dict)
    posts: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description="Minutes or an hour of steady load, held against what came of it.")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rate", type=int, default=50, help="mails a second, and posts a second")
    options = parser.parse_args()
    with Scene() as scene:
        users = [scene.new_user() for _ in range(0, options.seconds, MAILBOX_SECONDS)]
        others = [scene.mailbox(user, user) for user in users[1:]]
        with scene.system(SCALED, users[0]) as system:
            system.configure(users[0], "\n".join([*others, FORM_SECTION]), UNLIMITED)
            system.start(web=True)
            warm_up(scene, system, users[0])
            load, memory = run(scene, system, users, options.seconds, options.rate)
            lines = report(scene, system, load, memory, options.seconds, options.rate)
    TARGET.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if not {"| lost | 0 | 0 |", "| doubled | 0 | 0 |"} <= set(lines):
        raise SystemExit("something was lost or doubled")


def warm_up(scene: Scene, system: RunningCasemill, user: str) -> None:
    """One mail through all processes, and one post: then everything is up."""
    scene.dovecot.deliver(user, make_mail("first@clinic0.example", 0))
    wait(lambda: system.settled(0, 1) and system.at_rest(), "the first mail")
    wait(lambda: answers(system.port), "the web server")


def answers(port: int) -> bool:
    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await exchange(reader, writer, make_request(port, 1, "first@clinic1.example"))
        writer.close()

    try:
        asyncio.run(ask())
    except OSError:
        return False
    return True


def run(
    scene: Scene, system: RunningCasemill, users: Sequence[str], seconds: int, rate: int
) -> tuple[Load, list[Mapping[str, float]]]:
    """The load, and the memory of the processes at its begin, every tenth of it, and its end."""
    load, memory = Load(), [take_memory(system)]
    begin = time.monotonic() + 0.5
    posting = threading.Thread(target=lambda: asyncio.run(post_all(system.port, load, begin, seconds * rate, rate)))
    posting.start()
    for number in range(seconds * rate):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        sender = f"m{number}@clinic{number % 120}.example"
        load.mails[sender] = time.monotonic()
        scene.dovecot.deliver(users[number // rate // MAILBOX_SECONDS], make_mail(sender, number))
        if (number + 1) % (seconds * rate // 10) == 0:
            memory.append(take_memory(system))
            say(f"{number + 1} mails, {len(load.answered)} posts answered, {sum(memory[-1].values()):.0f} MB")
    posting.join()
    wait(lambda: system.settled(0, 2 + 2 * seconds * rate), "the tickets", REST_SECONDS)
    wait(system.at_rest, "the notices", REST_SECONDS)
    return load, memory


async def post_all(port: int, load: Load, begin: float, count: int, rate: int) -> None:
    """Posts at the steady rate over kept connections; one that is refused ends the run."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def one(number: int) -> None:
        sender = f"f{number}@clinic{number % 120}.example"
        load.posts[sender] = due = begin + number / rate
        connection = await idle.get()
        await exchange(*connection, make_request(port, 1000 + number, sender))
        idle.put_nowait(connection)
        load.answered[sender] = time.monotonic() - due

    under_way = set()
    for number in range(count):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        task = asyncio.create_task(one(number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


def make_mail(sender: str, number: int) -> bytes:
    source = random.Random(number)  # noqa: S311 - reproducible, not secret
    text = "\r\n".join(" ".join(source.choices(WORDS, k=12)) for _ in range(6))
    moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    head = f"From: <{sender}>\r\nTo: support@mill.example\r\nSubject: Claim {number}\r\nMessage-ID: <soak.{number}@{sender}>\r\n"
    return (head + f"Date: {moment}\r\n\r\n{text}\r\n").encode()


def take_memory(system: RunningCasemill) -> Mapping[str, float]:
    """Megabytes of each command with its children."""
    return {name: sum(map(resident, family(pid))) for name, pid in zip(PROCESSES, system.pids, strict=True)}


def family(pid: int) -> list[int]:
    """A process and those it started (proc(5), children)."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in path.read_text().split()] if path.exists() else []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        if thread.name != str(pid):
            children += [int(child) for child in (thread / "children").read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


def report(
    scene: Scene, system: RunningCasemill, load: Load, memory: Sequence[Mapping[str, float]], seconds: int, rate: int
) -> list[str]:
    """The report as Markdown. A loss or a double is said first."""
    given = load.mails | load.posts
    shift = time.time() - time.monotonic()  # from the wall clock of the rows to ours
    statement = (
        "SELECT c.email, count(*), min(extract(epoch FROM t.created_at)) FROM ticket t JOIN contact c ON c.id = t.requester_id"
        " GROUP BY c.email"
    )
    rows = {str(email): (int(count), float(at) - shift) for email, count, at in system.rows(statement)}
    notices: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for recipient, moment in scene.sink.taken():
        counts[recipient] += 1
        notices.setdefault(recipient, moment)
    lost = [one for one in given if one not in rows], [one for one in given if one not in notices]
    doubled = [one for one in given if rows.get(one, (1, 0))[0] > 1], [one for one in given if counts[one] > 1]
    machine = f"{describe_machine()}; load and servers on the same machine"
    return [
        "# Soak",
        "",
        f"Written by `make soak` on {datetime.now(UTC):%d %B %Y, %H:%M UTC} and not by hand. {machine}.",
        f"{rate} mails and {rate} posts a second for {seconds} s: {len(given):,} items, {sum(counts.values()):,} mails sent,",
        "in the scaled-out mode (PostgreSQL, Redis, two worker processes).",
        "",
        "| | tickets | creation notices |",
        "|---|---|---|",
        f"| lost | {len(lost[0])} | {len(lost[1])} |",
        f"| doubled | {len(doubled[0])} | {len(doubled[1])} |",
        "",
        "| from, to | median | p95 | p99 | slowest |",
        "|---|---|---|---|---|",
        latency("mail delivered → ticket", [rows[one][1] - at for one, at in load.mails.items() if one in rows]),
        latency("post due → 200", list(load.answered.values())),
        latency("mail delivered → notice sent", [notices[one] - at for one, at in load.mails.items() if one in notices]),
        latency("post due → notice sent", [notices[one] - at for one, at in load.posts.items() if one in notices]),
        "",
        "| memory, MB, with children | at the begin | half-way | at the end |",
        "|---|---|---|---|",
        *(memory_row(name, memory) for name in PROCESSES),
    ]


def memory_row(name: str, memory: Sequence[Mapping[str, float]]) -> str:
    figures = (memory[number][name] for number in (0, len(memory) // 2, -1))
    return f"| {name} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |"


def latency(name: str, seconds: Sequence[float]) -> str:
    figures = [percentile(seconds, share) for share in (0.5, 0.95, 0.99)]
    return f"| {name} | " + " | ".join(f"{figure:.2f} s" for figure in [*figures, max(seconds)]) + " |"


if __name__ == "__main__":
    main()
