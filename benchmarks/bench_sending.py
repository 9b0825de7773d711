"""Measure the rate of sending notices (render, build, claim, intent, SMTP, outcome) against a bare smtplib loop over ready bytes.

Both sides send in turn to the same aiosmtpd, which has its own process, over persistent connections. casemill sends from
SQLite with synchronous=FULL in one process, like `casemill run`, and from a private PostgreSQL in two processes, like
`dramatiq workers` on two cores. One thread a process serves a fast relay. The figures are medians of the runs.

Run: python -m benchmarks.bench_sending [--count 2000] [--runs 3]
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import smtplib
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiosmtpd.controller import Controller
from sqlalchemy import func, insert, select

from accounts.models import Contact
from benchmarks.harness import Result, Testbed, format_runs, log_progress, median, record
from core import clock, migrations
from core.database.session import Database
from core.settings import Settings
from core.signing import Signer
from notify.delivery import DeliveryWorker
from notify.mailing_types import CREATED
from notify.mailings import on_ticket_created
from notify.mime import OutgoingMessage, build_message
from notify.models import Delivery
from notify.render import Renderer
from notify.transport_factory import open_transport
from outbox.facts import TicketCreated
from tests.servers.ports import free_port
from tickets.models import Ticket

TEMPLATES = Path(__file__).resolve().parent.parent / "templates" / "email"
KEY = b"a key only for measuring 0123456"


class CountingHandler:
    """An aiosmtpd handler that accepts and counts every message."""

    def __init__(self) -> None:
        self.messages = 0

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.messages += 1
        return "250 OK"


def serve(port: int, pipe: Connection) -> None:
    """Run the SMTP server: report readiness, answer each request on the pipe with the count, stop when the pipe closes."""
    logging.disable(logging.CRITICAL)
    handler = CountingHandler()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    pipe.send(None)
    try:
        while True:
            pipe.recv()
            pipe.send(handler.messages)
    except EOFError:
        controller.stop()


@contextmanager
def smtp_process() -> Iterator[tuple[int, Connection]]:
    """Start the SMTP server in its own process; yield its port and the pipe for :func:`count_received`."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=serve, args=(port, child_end), daemon=True)
    process.start()
    child_end.close()
    parent_end.recv()
    try:
        yield port, parent_end
    finally:
        parent_end.close()
        process.join(10)


def count_received(pipe: Connection) -> int:
    """Return how many messages the server has received so far."""
    pipe.send(None)
    count: int = pipe.recv()
    return count


def settings_for(folder: Path, url: str, port: int) -> Settings:
    """Return default settings with rate limits that are never reached but are still counted."""
    no_limit = 10**9
    return Settings.model_validate(
        {
            "data_dir": folder,
            "database_url": url,
            "smtp_url": f"smtp://127.0.0.1:{port}",
            "notices": {"total_hour": no_limit, "per_domain_hour": no_limit, "per_public_domain_hour": no_limit},
        }
    )


def fill(database: Database, count: int) -> None:
    """Insert ``count`` tickets, each of its own requester, and their pending creation notices."""
    now = clock.now()
    people = [{"id": n, "email": f"pat{n}@clinic{n % 200}.example", "created_at": now} for n in range(1, count + 1)]
    tickets = [
        {"id": n, "requester_id": n, "name": "Support", "pipeline": "service", "type": "Billing Issue", "source": "email",
         "description": "", "missing": [], "opened_at": now, "created_at": now, "updated_at": now}
        for n in range(1, count + 1)
    ]  # fmt: skip
    with database.write() as session:
        session.execute(insert(Contact), people)
        session.execute(insert(Ticket), tickets)
        on_ticket_created(session, [TicketCreated(n, answer=True) for n in range(1, count + 1)], now)


def ready_bytes() -> bytes:
    """Return the bytes of one creation notice."""
    signer = Signer([KEY], "casemill.example")
    context = {"number": "BS-000001", "link": "http://127.0.0.1:8025/care/cases/BS-000001", "team_name": "Billing Support",
               "received_at": datetime(2026, 1, 5, 9, tzinfo=UTC)}  # fmt: skip
    rendered = Renderer(TEMPLATES, zone=ZoneInfo("America/New_York")).render(CREATED, context)
    return build_message(OutgoingMessage(
        from_address="support@casemill.example", from_name="Billing Support", to_address="pat@clinic.example",
        subject=rendered.subject, date=clock.now(), message_id=signer.message_id("t1.d1"), text=rendered.text,
        html=rendered.html, loop="casemill.example",
    ))  # fmt: skip


def run_smtplib(port: int, data: bytes, count: int) -> float:
    """Return the messages a second of the bare smtplib loop."""
    with smtplib.SMTP("127.0.0.1", port, "casemill.example") as connection:
        began = time.perf_counter()
        for number in range(count):
            connection.sendmail("bounce@casemill.example", [f"pat{number}@clinic.example"], data)
        return count / (time.perf_counter() - began)


def run_casemill(folder: Path, url: str, port: int, count: int, processes: int, pipe: Connection) -> float:
    """Return the notices a second, from pending to recorded as sent. The senders are ready before the clock starts."""
    settings = settings_for(folder, url, port)
    with closing(Database(settings.database)) as database, ExitStack() as stack:
        migrations.upgrade(database)
        fill(database, count)
        senders = [stack.enter_context(sender_process(folder, url, port)) for _ in range(processes)]
        before = count_received(pipe)
        began = time.perf_counter()
        for sender in senders:
            sender.send("go")
        for sender in senders:
            sender.recv()
        elapsed = time.perf_counter() - began
        with database.read() as session:
            sent = session.execute(select(func.count()).where(Delivery.state == "sent")).scalar_one()
        if (sent, count_received(pipe) - before) != (count, count):
            raise SystemExit(f"of {count} notices {sent} were recorded as sent and {count_received(pipe) - before} arrived")
    return count / elapsed


@contextmanager
def sender_process(folder: Path, url: str, port: int) -> Iterator[Connection]:
    """Start a sender process; yield the pipe that starts it and receives its answer when no notice is due any more."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=send_all, args=(folder, url, port, child_end), daemon=True)
    process.start()
    child_end.close()
    parent_end.recv()
    try:
        yield parent_end
    finally:
        parent_end.close()
        process.join(10)


def send_all(folder: Path, url: str, port: int, pipe: Connection) -> None:
    """Send all due notices in this process, after a start signal on ``pipe``."""
    logging.disable(logging.WARNING)
    settings = settings_for(folder, url, port)
    renderer = Renderer(TEMPLATES, zone=ZoneInfo(settings.calendar.zone))
    signer = Signer(settings.signing_keys(), settings.notices.domain)
    with closing(Database(settings.database)) as database:
        worker = DeliveryWorker(database, settings, renderer, signer, open_transport(settings.mail_out))
        with closing(worker):
            database.ping()
            pipe.send("ready")
            pipe.recv()
            while worker.drain():
                pass
            pipe.send("done")


def main() -> None:
    parser = argparse.ArgumentParser(description="Sending notices, against a bare smtplib loop.")
    parser.add_argument("--count", type=int, default=2000, help="notices a run")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    data = ready_bytes()
    with Testbed() as testbed, smtp_process() as (port, pipe):
        run_smtplib(port, data, 200)
        kinds = ("SQLite", testbed.new_sqlite, 1), ("PostgreSQL", testbed.postgres.create_database, 2)
        for name, new_database, processes in kinds:
            own, bare = [], []
            for number in range(options.runs):
                bare.append(run_smtplib(port, data, options.count))
                own.append(run_casemill(testbed.folder, new_database(), port, options.count, processes, pipe))
                log_progress(f"{name} run {number + 1}: casemill {own[-1]:.0f}/s, smtplib {bare[-1]:.0f}/s")
            note = f"to reach besides: 400/s; {format_runs(own)}"
            record(Result(f"sending notices, {name}", median(own), "mails/s", "smtplib", median(bare), 0.3, note=note))


if __name__ == "__main__":
    main()
