"""A minimal pipeline as a lower bound: FETCH a hundred messages, parse them, insert them in one transaction.

Two processes each read one half of a mailbox that is full before they begin. They use imapclient, the standard library's
parser and SQLAlchemy, on SQLite with synchronous=FULL or on PostgreSQL. There is no ledger, cursor, threading, owner or
notice. casemill is compared with it, although a product does more for each mail (`targets.md`).

Run by :func:`measure_seconds`, as ``python -m benchmarks.bare_pipeline SHARE URL HOST PORT USER PASSWORD``.
"""

from __future__ import annotations

import email
import subprocess
import sys
import time
from email.message import Message

from imapclient import IMAPClient
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table, Text, create_engine, event, func, insert, select

from benchmarks.harness import SCALED, Testbed

PROCESS_COUNT, BATCH_MAILS = 2, 100
HEADER_FIELDS = {"message_id": "Message-ID", "sender": "From", "subject": "Subject"}
TICKET_TABLE = Table(
    "bare_ticket",
    MetaData(),
    Column("id", Integer, primary_key=True),
    *(Column(name, Text) for name in (*HEADER_FIELDS, "body")),
    Column("raw", LargeBinary),
)


def measure_seconds(testbed: Testbed, mode: str, user: str, mails: int) -> float:
    """Return the seconds until all ``mails`` of a full mailbox are rows, without the time to start and log in.

    Raises SystemExit if the number of rows is not ``mails``.
    """
    url = testbed.postgres.create_database() if mode == SCALED else testbed.new_sqlite()
    engine = _open_engine(url)
    TICKET_TABLE.metadata.create_all(engine)
    server = testbed.dovecot
    arguments = [url, server.host, str(server.port), user, server.password]
    argv = [[sys.executable, "-m", "benchmarks.bare_pipeline", str(share), *arguments] for share in range(PROCESS_COUNT)]
    processes = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for one in argv]
    for process in processes:
        _wait_for_line(process)
    began = time.monotonic()
    for process in processes:
        _send_go(process)
    for process in processes:
        _wait_for_line(process)
    elapsed = time.monotonic() - began
    for process in processes:
        process.communicate(timeout=60)
    with engine.connect() as connection:
        row_count = connection.scalar(select(func.count()).select_from(TICKET_TABLE))
    engine.dispose()
    if mode == SCALED:
        testbed.postgres.drop_database(url)
    if row_count != mails:
        raise SystemExit(f"the bare pipeline made {row_count} rows of {mails} mails")
    return elapsed


def _wait_for_line(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is None or not process.stdout.readline():
        raise SystemExit(f"a process of the bare pipeline ended with {process.wait()}")


def _send_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.write(b"go\n")
        process.stdin.flush()


def _open_engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def set_up(connection: object, _: object) -> None:
            for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    return engine


def _parse_row(raw: bytes) -> dict[str, object]:
    message = email.message_from_bytes(raw)
    row: dict[str, object] = {name: str(message[field] or "") for name, field in HEADER_FIELDS.items()}
    return row | {"body": _first_text(message), "raw": raw}


def _first_text(message: Message) -> str:
    for part in message.walk():
        # Every part is decoded, because a product must decode attachments to store them.
        content = part.get_payload(decode=True)
        if part.get_content_maintype() == "text" and isinstance(content, bytes):
            text = content.decode(part.get_content_charset("utf-8"), "replace")
            if text.strip():
                return text.replace("\0", "")
    return ""


def main() -> None:
    share, url, host, port, user, password = sys.argv[1:]
    engine = _open_engine(url)
    with IMAPClient(host, int(port), ssl=False) as client, engine.connect() as connection:
        client.login(user, password)
        client.select_folder("INBOX", readonly=True)
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
        print("ready", flush=True)
        sys.stdin.readline()
        uids = client.search("ALL")[int(share) :: PROCESS_COUNT]
        for first in range(0, len(uids), BATCH_MAILS):
            fetched = client.fetch(uids[first : first + BATCH_MAILS], ["BODY.PEEK[]"])
            rows = [_parse_row(data[b"BODY[]"]) for data in fetched.values()]
            connection.execute(insert(TICKET_TABLE), rows)
            connection.commit()
        print("done", flush=True)


if __name__ == "__main__":
    main()
