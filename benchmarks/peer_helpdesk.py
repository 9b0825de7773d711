"""The peer: django-helpdesk from PyPI in a virtual environment of its own, its real ``get_email`` on the same mailbox."""

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

from benchmarks.harness import EMBEDDED, SCALED, Scene, say

HERE = Path(__file__).resolve().parent
PINS = HERE / "peer-requirements.txt"
PLACE = HERE.parent / ".venv" / "peer"


def install() -> Path:
    """The environment's python; made when it is missing or its pins have changed."""
    stamp, python = PLACE / "pins", PLACE / "bin" / "python"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        say("installing the peer, django-helpdesk")
        shutil.rmtree(PLACE, ignore_errors=True)
        venv.create(PLACE, with_pip=True)
        pip = [str(python), "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--require-hashes", "-r", str(PINS)], check=True)
        stamp.write_text(wanted)
    return python


def version() -> str:
    line = next(line for line in PINS.read_text().splitlines() if line.startswith("django-helpdesk=="))
    return line.partition("==")[2].split()[0]


@dataclass
class Peer:
    """django-helpdesk on SQLite (mode ``embedded``) or PostgreSQL. Tables are made once and copied for each run."""

    scene: Scene
    mode: str
    python: Path = field(default_factory=install)

    def __post_init__(self) -> None:
        self._folder = self.scene.folder / f"peer{self.scene.serial()}"
        self._folder.mkdir()
        self._template = self._folder / "template.db"
        self._url = make_url(self.scene.postgres.create_database()) if self.mode == SCALED else None
        database = str(self._template) if self._url is None else self._named(str(self._url.database))
        self._run([str(HERE / "peer" / "prepare.py")], database)
        if self._url is None:
            with sqlite3.connect(self._template) as connection:  # a copy of the file alone must be whole
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def seconds(self, user: str, mails: int) -> float:
        """Seconds that ``get_email`` takes for the mailbox of ``user``, start of interpreter and Django included.

        Raises SystemExit unless it made a follow-up (a ticket's first, or a reply's) of each of ``mails``.
        """
        serial = self.scene.serial()
        database = self._copy(serial)
        began = time.monotonic()
        self._run(["-m", "django", "get_email", "--quiet"], database, PEER_USER=user)
        elapsed = time.monotonic() - began
        made = self._count(database)
        if made != mails:
            raise SystemExit(f"the peer made {made} follow-ups of {mails} mails")
        return elapsed

    def _copy(self, serial: int) -> str:
        if self._url is None:
            copied = self._folder / f"{serial}.db"
            shutil.copyfile(self._template, copied)
            return str(copied)
        name = f"peer_{serial}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE {name} TEMPLATE "{self._url.database}"')
        return self._named(name)

    def _count(self, database: str) -> int:
        question = "SELECT count(*) FROM helpdesk_followup"
        if self._url is None:
            with sqlite3.connect(database) as connection:
                return int(connection.execute(question).fetchone()[0])
        with psycopg.connect(self._dsn(database.rpartition(":")[2])) as connection:
            row = connection.execute(question).fetchone()
            return int(row[0]) if row else 0

    def _named(self, name: str) -> str:
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
            "PEER_PORT": str(self.scene.dovecot.port),
            "PEER_PASSWORD": self.scene.dovecot.password,
            **more,
        }
        done = subprocess.run(
            [str(self.python), *arguments], env=environment, cwd=self._folder, capture_output=True, text=True, check=False
        )
        if done.returncode or "Traceback" in done.stderr + done.stdout:
            raise SystemExit(f"the peer failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


__all__ = ["EMBEDDED", "Peer", "install", "version"]

if __name__ == "__main__":
    print(install())
    sys.exit(0)
