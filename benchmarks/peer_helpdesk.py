"""The peer: django-helpdesk from PyPI in its own virtual environment, running its own ``get_email`` on the same mailbox."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from benchmarks.harness import EMBEDDED, SCALED, Testbed, log_progress

HERE = Path(__file__).resolve().parent
PINS = HERE / "peer-requirements.txt"
PEER_ENVIRONMENT = HERE.parent / ".venv" / "peer"


def install() -> Path:
    """Return the Python of the peer's environment; build the environment if it is missing or its pins have changed."""
    stamp, python = PEER_ENVIRONMENT / "pins", PEER_ENVIRONMENT / "bin" / "python"
    pins_digest = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != pins_digest:
        log_progress("installing the peer, django-helpdesk")
        shutil.rmtree(PEER_ENVIRONMENT, ignore_errors=True)
        venv.create(PEER_ENVIRONMENT, with_pip=True)
        pip = [str(python), "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--require-hashes", "-r", str(PINS)], check=True)
        stamp.write_text(pins_digest)
    return python


def peer_version() -> str:
    line = next(line for line in PINS.read_text().splitlines() if line.startswith("django-helpdesk=="))
    return line.partition("==")[2].split()[0]


@dataclass
class Peer:
    """django-helpdesk on SQLite (mode ``embedded``) or PostgreSQL. Tables are created once and copied for each run."""

    testbed: Testbed
    mode: str
    python: Path = field(default_factory=install)

    def __post_init__(self) -> None:
        self._folder = self.testbed.folder / f"peer{self.testbed.next_serial()}"
        self._folder.mkdir()
        self._template = self._folder / "template.db"
        self._url = make_url(self.testbed.postgres.create_database()) if self.mode == SCALED else None
        database = str(self._template) if self._url is None else self._database_argument(str(self._url.database))
        self._run([str(HERE / "peer" / "prepare.py")], database)
        if self._url is None:
            # Runs copy only the main file, so it must contain all of the write-ahead log.
            with sqlite3.connect(self._template) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def measure_seconds(self, user: str, mails: int) -> float:
        """Return the seconds that ``get_email`` takes for the mailbox of ``user``, including the start of Python and Django.

        Raises SystemExit unless each of ``mails`` became a follow-up (the first of a ticket, or a reply).
        """
        serial = self.testbed.next_serial()
        database = self._copy(serial)
        began = time.monotonic()
        self._run(["-m", "django", "get_email", "--quiet"], database, PEER_USER=user)
        elapsed = time.monotonic() - began
        follow_ups = self._count(database)
        if follow_ups != mails:
            raise SystemExit(f"the peer made {follow_ups} follow-ups of {mails} mails")
        return elapsed

    def _copy(self, serial: int) -> str:
        if self._url is None:
            copied = self._folder / f"{serial}.db"
            shutil.copyfile(self._template, copied)
            return str(copied)
        name = f"peer_{serial}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE {name} TEMPLATE "{self._url.database}"')
        return self._database_argument(name)

    def _count(self, database: str) -> int:
        statement = "SELECT count(*) FROM helpdesk_followup"
        if self._url is None:
            with sqlite3.connect(database) as connection:
                return int(connection.execute(statement).fetchone()[0])
        with psycopg.connect(self._dsn(database.rpartition(":")[2])) as connection:
            row = connection.execute(statement).fetchone()
            return int(row[0]) if row else 0

    def _database_argument(self, name: str) -> str:
        assert self._url is not None  # noqa: S101 - tells the type checker
        return f"{self._url.username}:{self._url.password}:{self._url.port}:{name}"

    def _dsn(self, name: str) -> str:
        assert self._url is not None  # noqa: S101 - tells the type checker
        user, password, port = self._url.username, self._url.password, self._url.port
        return f"host=127.0.0.1 port={port} user={user} password={password} dbname={name}"

    def _run(self, arguments: list[str], database: str, **more: str) -> None:
        environment: Mapping[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(HERE / "peer"),
            "DJANGO_SETTINGS_MODULE": "settings",
            "PEER_DATABASE": database,
            "PEER_MEDIA": str(self._folder / "media"),
            "PEER_PORT": str(self.testbed.dovecot.port),
            "PEER_PASSWORD": self.testbed.dovecot.password,
            **more,
        }
        done = subprocess.run(
            [str(self.python), *arguments], env=environment, cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode or "Traceback" in done.stderr + done.stdout:
            raise SystemExit(f"the peer failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


__all__ = ["EMBEDDED", "Peer", "install", "peer_version"]

if __name__ == "__main__":
    print(install())
    sys.exit(0)
