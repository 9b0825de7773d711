"""Shared parts of the benchmarks: private servers, casemill as processes, statistics, printed and recorded results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any, Self

from imapclient import IMAPClient
from sqlalchemy import create_engine, text

from accounts.directory import add_company, add_staff
from benchmarks.sink import Sink, sink
from core import migrations
from core.database.session import Database
from tests.servers.dovecot import DovecotServer
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer, find_postgres
from tests.servers.redis_server import RedisServer, find_redis
from tests.servers.tls import make_certificates
from tests.servers.workspace import make_workspace, remove_workspace

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "cli"]
WORKERS_COMMAND = [sys.executable, "-m", "dramatiq", "workers", "--processes", "2", "--threads", "4"]
EMBEDDED, SCALED = "embedded", "scaled out"
COMMANDS = {EMBEDDED: [[*COMMAND, "run"]], SCALED: [[*COMMAND, "watch"], [*COMMAND, "tick"], WORKERS_COMMAND]}
STAFF_NAMES = ("ruth.calder", "omar.haddad", "lena.fischer", "tomas.vega", "grace.okafor", "sam.whitlock")
#: Notice settings without rate limits. With limits, a benchmark would wait for deferred notices.
UNLIMITED = "\n".join(f"{name} = 0" for name in ("total_hour", "per_domain_hour", "per_public_domain_hour"))
#: Environment variable: the file that :func:`record` appends to and `benchmarks/report.py` reads.
RESULTS_VARIABLE = "BENCH_RESULTS"
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Result:
    """One row of the table. ``reach`` is the target (``targets.md``), which is compared with ``ratio``.

    If ``most`` is true, ``reach`` is an upper limit.
    """

    name: str
    casemill: float
    unit: str
    other_name: str = ""
    other: float | None = None
    reach: float | None = None
    most: bool = False
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.casemill / self.other if self.other else self.casemill

    @property
    def line(self) -> str:
        measured = f"{self.name}: casemill {format_figure(self.casemill)} {self.unit}"
        comparison = f" / {self.other_name} {format_figure(self.other)} {self.unit} = {self.ratio:.2f}" if self.other else ""
        return measured + comparison + (f"  ({self.note})" if self.note else "")


def record(result: Result) -> None:
    """Print the result and append it to the results file, if one is configured."""
    print(result.line, flush=True)
    if path := os.environ.get(RESULTS_VARIABLE):
        with Path(path).open("a") as file:
            file.write(json.dumps({**asdict(result), "ratio": result.ratio, "script": Path(sys.argv[0]).name}) + "\n")


def log_progress(message: str) -> None:
    """Print progress to standard error; it is not part of the results."""
    print(f"  {message}", file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a fraction ``share`` (0..1) of ``values`` does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def format_runs(values: Sequence[float]) -> str:
    """Format the figures of all runs, for the note of a median."""
    return "runs: " + ", ".join(format_figure(value) for value in values)


def format_figure(value: float | None) -> str:
    """Format a figure with about three digits, the precision of the measurements."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120, pause: float = POLL_SECONDS) -> float:
    """Poll ``condition`` until it is true and return that time (`time.monotonic()`).

    Raises SystemExit after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out after {seconds} s waiting for {what}")
        time.sleep(pause)
    return time.monotonic()


class Testbed:
    """Private servers, started on first use, with mailboxes, databases and casemill systems in a temporary folder."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = make_workspace()
        self._stack.callback(remove_workspace, self.folder)
        self._serial = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def dovecot(self) -> DovecotServer:
        server = DovecotServer(self._subfolder("dovecot"), make_certificates(self._subfolder("tls")))
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def postgres(self) -> PostgresServer:
        if find_postgres() is None:
            raise SystemExit("PostgreSQL is not installed (scripts/servers.sh)")
        server = PostgresServer(self._subfolder("postgres"))
        server.start()
        self._stack.callback(server.stop, "immediate")
        return server

    @cached_property
    def redis(self) -> RedisServer:
        if find_redis() is None:
            raise SystemExit("Redis is not installed (scripts/servers.sh)")
        server = RedisServer(self._subfolder("redis"))
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def sink(self) -> Sink:
        return self._stack.enter_context(sink())

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def new_user(self) -> str:
        """Create a mail user with an empty INBOX and return its name."""
        name = f"support{self.next_serial()}"
        self.dovecot.add_user(name)
        return name

    def new_sqlite(self) -> str:
        """Return the URL of a SQLite database that does not exist yet."""
        return f"sqlite:///{self.folder / f'{self.next_serial()}.db'}"

    def new_folder(self) -> Path:
        """Create an empty folder to watch."""
        return self._subfolder(f"drop{self.next_serial()}")

    def stage(self, user: str, mails: Sequence[bytes]) -> Callable[[], float]:
        """Write ``mails`` beside the INBOX; return a function that moves them in and returns the time of the first move.

        A thousand mails thus appear within hundredths of a second, in their order.
        """
        inbox = self.dovecot.maildir(user) / "new"
        staged = [self.dovecot.deliver(user, mail, "Staging") for mail in mails]
        # Otherwise the kernel would write the data of one run to disk during the next.
        os.sync()

        def move_in() -> float:
            began = time.monotonic()
            for path in staged:
                path.rename(inbox / path.name)
            return began

        return move_in

    def mailbox_section(self, name: str, user: str) -> str:
        """Return the settings section that watches a user's INBOX from its first mail."""
        server = self.dovecot
        lines = [
            f"[mailboxes.{name}]", f'host = "{server.host}"', f"port = {server.tls_port}", f'ca_file = "{server.ca_file}"',
            f'user = "{user}"', f'password = "{server.password}"', 'since = "all"',
        ]  # fmt: skip
        return "\n".join(lines)

    @contextmanager
    def idle_client(self, user: str) -> Iterator[Callable[[], float | None]]:
        """Wait with IDLE in a separate client; yield a function that returns when it was notified of mail, or None.

        Dovecot notifies all clients half a second after a delivery (NOTIFY_DELAY_MSECS).
        """
        notified_at: list[float] = []
        with IMAPClient(self.dovecot.host, self.dovecot.port, ssl=False) as client:
            client.login(user, self.dovecot.password)
            client.select_folder("INBOX", readonly=True)
            client.idle()

            def listen() -> None:
                if client.idle_check(60):
                    notified_at.append(time.monotonic())

            thread = Thread(target=listen, daemon=True)
            thread.start()
            yield lambda: notified_at[0] if notified_at else None
            thread.join(60)
            client.idle_done()

    @contextmanager
    def system(self, mode: str, user: str = "", extra: str = "") -> Iterator[RunningCasemill]:
        """Yield a casemill system that is not started, with an empty database and a few staff and companies."""
        url = self.postgres.create_database() if mode == SCALED else ""
        system = RunningCasemill(self, mode, self._subfolder(f"system{self.next_serial()}"), user, url, extra)
        try:
            system.prepare()
            yield system
        finally:
            system.close()
            if url:
                self.postgres.drop_database(url)
            else:
                shutil.rmtree(system.data, ignore_errors=True)

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        return folder


class RunningCasemill:
    """A casemill system in separate processes, with default settings except the addresses of its servers."""

    def __init__(self, testbed: Testbed, mode: str, folder: Path, user: str, database_url: str, extra: str) -> None:
        self.mode = mode
        self._testbed = testbed
        self.data = folder / "data"
        self.port = free_port()
        self.database_url = database_url or f"sqlite:///{self.data / 'casemill.db'}"
        self._config = folder / "casemill.toml"
        self.configure(user, extra)
        self._log = (folder / "log").open("a+b")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._engine = create_engine(self.database_url, isolation_level="AUTOCOMMIT")

    def configure(self, user: str, extra: str = "", notices: str = "") -> None:
        """Write the settings for the next start: watch the mailbox of ``user``, add ``notices`` to the section of that name."""
        self._config.write_text(self._toml(self._testbed, user, extra, notices))

    @property
    def pid(self) -> int:
        return self._processes[0].pid

    @property
    def pids(self) -> list[int]:
        """Process ids, one for each command of the mode, in order."""
        return [process.pid for process in self._processes]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CASEMILL_CONFIG": str(self._config), "PYTHONPATH": str(ROOT)}

    def prepare(self) -> None:
        """Create the tables, six staff members and forty companies."""
        database = Database(self.database_url)
        migrations.upgrade(database)
        # All staff work at any hour and have free capacity, so the time of the run does not matter.
        always = {"hours": "00:00-23:59", "weekdays": "Mon-Sun", "capacity": 2_000}
        with database.write() as session:
            for name in STAFF_NAMES:
                add_staff(session, email=f"{name}@mill.example", name=name.replace(".", " ").title(), **always)
            for number in range(40):
                manager = f"{STAFF_NAMES[number % len(STAFF_NAMES)]}@mill.example"
                add_company(session, name=f"Clinic {number}", domains=f"clinic{number}.example", manager=manager)
        database.close()

    def start(self, *, wrapper: Sequence[str] = (), web: bool = False) -> None:
        """Start the processes of the mode; ``wrapper`` (a profiler) prefixes the first command, ``web`` adds the web server."""
        for number, command in enumerate([*COMMANDS[self.mode], *([[*COMMAND, "web"]] if web else [])]):
            argv = [*wrapper, *command] if number == 0 else command
            self._processes.append(subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=self._log, stderr=self._log))

    def run_command(self, *arguments: str) -> str:
        """Run one casemill command and return its output."""
        done = subprocess.run([*COMMAND, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def query_value(self, statement: str, **values: Any) -> Any:
        """Return the first value of the query's result."""
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).scalar()

    def query_rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Return all rows of the query's result."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def last_item_id(self) -> int:
        """Return the id of the latest item, 0 if there is none."""
        return int(self.query_value("SELECT max(id) FROM inbound_item") or 0)

    def has_processed(self, after: int, count: int) -> bool:
        """Return whether ``count`` items after item ``after`` have an outcome, which is committed together with their tickets."""
        # Open items are in small indexes, so this poll costs the measured processes least.
        return self.has_received(after, count) and not self.has_open_items()

    def has_received(self, after: int, count: int) -> bool:
        """Return whether at least ``count`` items arrived after item ``after``."""
        self._check()
        return bool(self.query_value("SELECT count(*) FROM inbound_item WHERE id > :after", after=after) >= count)

    def has_open_items(self) -> bool:
        """Return whether an item is waiting or claimed."""
        self._check()
        select_state = "SELECT 1 FROM inbound_item WHERE state"
        return bool(self.query_value(f"SELECT EXISTS ({select_state} = 'waiting') OR EXISTS ({select_state} = 'claimed')"))

    def is_idle(self) -> bool:
        """Return whether no item, fact or notice is left to process."""
        return not (
            self.has_open_items()
            or self.query_value("SELECT 1 FROM outbox_fact WHERE done_at IS NULL LIMIT 1")
            or self.query_value("SELECT 1 FROM delivery WHERE finished_at IS NULL AND state IN ('pending', 'ambiguous') LIMIT 1")
            or self.query_value("SELECT 1 FROM delivery WHERE state IN ('claimed', 'intent') LIMIT 1")
        )

    def stop(self) -> None:
        """Stop the processes with SIGINT, and kill those that do not end within 30 seconds."""
        for process in self._processes:
            process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def close(self) -> None:
        self.stop()
        self._engine.dispose()
        self._log.close()

    def _check(self) -> None:
        for process in self._processes:
            if process.poll() is not None:
                self._log.seek(0)
                raise SystemExit(f"casemill ended with {process.returncode}:\n{self._log.read().decode()[-3000:]}")

    def _toml(self, testbed: Testbed, user: str, extra: str, notices: str) -> str:
        redis_url = testbed.redis.url if self.mode == SCALED else ""
        members = ", ".join(f'"{name}@mill.example"' for name in STAFF_NAMES)
        lines = [
            f'data_dir = "{self.data}"', f'database_url = "{self.database_url}"',
            f'redis_url = "{redis_url}"', f'smtp_url = "{testbed.sink.url}"',
            "[web]", f'listen = "127.0.0.1:{self.port}"',
            "[notices]", 'domain = "mill.example"', notices,
            "[teams.support]", "default = true", f"members = [{members}]",
        ]  # fmt: skip
        if user:
            lines.append(testbed.mailbox_section("support", user))
        return "\n".join([*lines, extra]) + "\n"
