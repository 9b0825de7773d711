"""The least that could be called a pipeline: FETCH a hundred messages, parse them, insert them in one transaction, nothing else.

Two processes share a mailbox that is full before they begin, each with a half of it. They use imapclient, the standard
library's parser and SQLAlchemy, on SQLite with synchronous=FULL or on PostgreSQL. No ledger, no cursor, no threads of
conversation, no owner, no notice. Casemill is held against it: a product has more to do for each mail (`targets.md`).

Run by :func:`seconds`, as ``python -m benchmarks.bare_pipeline SHARE URL HOST PORT USER PASSWORD``.
"""

from __future__ import annotations

import email
import subprocess
import sys
import time
from email.message import Message

from imapclient import IMAPClient
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table, Text, create_engine, event, func, insert, select

from benchmarks.harness import SCALED, Scene

PROCESSES, BATCH = 2, 100
FIELDS = {"message_id": "Message-ID", "sender": "From", "subject": "Subject"}
TICKETS = Table(
    "bare_ticket",
    MetaData(),
    Column("id", Integer, primary_key=True),
    *(Column(name, Text) for name in (*FIELDS, "body")),
    Column("raw", LargeBinary),
)


def seconds(scene: Scene, mode: str, user: str, mails: int) -> float:
    """Seconds in which ``mails`` of a full mailbox become rows. The processes have started and logged in before.

    Raises SystemExit when there are not as many rows as mails.
    """
    url = scene.postgres.create_database() if mode == SCALED else scene.new_sqlite()
    engine = _engine(url)
    TICKETS.metadata.create_all(engine)
    server = scene.dovecot
    arguments = [url, server.host, str(server.port), user, server.password]
    argv = [[sys.executable, "-m", "benchmarks.bare_pipeline", str(share), *arguments] for share in range(PROCESSES)]
    processes = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for one in argv]
    for process in processes:
        _hear(process)
    began = time.monotonic()
    for process in processes:
        _tell(process)
    for process in processes:
        _hear(process)
    elapsed = time.monotonic() - began
    for process in processes:
        process.communicate(timeout=60)
    with engine.connect() as connection:
        made = connection.scalar(select(func.count()).select_from(TICKETS))
    engine.dispose()
    if mode == SCALED:
        scene.postgres.drop_database(url)
    if made != mails:
        raise SystemExit(f"the bare pipeline made {made} rows of {mails} mails")
    return elapsed


def _hear(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is None or not process.stdout.readline():
        raise SystemExit(f"a process of the bare pipeline ended with {process.wait()}")


def _tell(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.write(b"go\n")
        process.stdin.flush()


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def set_up(connection: object, _: object) -> None:
            for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    return engine


def _read(raw: bytes) -> dict[str, object]:
    message = email.message_from_bytes(raw)
    row: dict[str, object] = {name: str(message[field] or "") for name, field in FIELDS.items()}
    return row | {"body": _first_text(message), "raw": raw}


def _first_text(message: Message) -> str:
    for part in message.walk():
        content = part.get_payload(decode=True)  # of every part, as a product must to keep its files
        if part.get_content_maintype() == "text" and isinstance(content, bytes):
            text = content.decode(part.get_content_charset("utf-8"), "replace")
            if text.strip():
                return text.replace("\0", "")
    return ""


def main() -> None:
    share, url, host, port, user, password = sys.argv[1:]
    engine = _engine(url)
    with IMAPClient(host, int(port), ssl=False) as client, engine.connect() as connection:
        client.login(user, password)
        client.select_folder("INBOX", readonly=True)
        connection.exec_driver_sql("SELECT 1")
        connection.rollback()
        print("ready", flush=True)
        sys.stdin.readline()
        uids = client.search("ALL")[int(share) :: PROCESSES]
        for first in range(0, len(uids), BATCH):
            fetched = client.fetch(uids[first : first + BATCH], ["BODY.PEEK[]"])
            rows = [_read(data[b"BODY[]"]) for data in fetched.values()]
            connection.execute(insert(TICKETS), rows)
            connection.commit()
        print("done", flush=True)


if __name__ == "__main__":
    main()
