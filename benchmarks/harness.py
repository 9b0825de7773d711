"""What the benchmarks share: private servers, a casemill as processes, medians, the printed line and the record of it."""

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
WORKERS = [sys.executable, "-m", "dramatiq", "workers", "--processes", "2", "--threads", "4"]
EMBEDDED, SCALED = "embedded", "scaled out"
COMMANDS = {EMBEDDED: [[*COMMAND, "run"]], SCALED: [[*COMMAND, "watch"], [*COMMAND, "tick"], WORKERS]}
STAFF = ("ruth.calder", "omar.haddad", "lena.fischer", "tomas.vega", "grace.okafor", "sam.whitlock")
#: Settings of notices for thousands of mails an hour: what the limits hold back would be waited for.
UNLIMITED = "\n".join(f"{name} = 0" for name in ("total_hour", "per_domain_hour", "per_public_domain_hour"))
#: The file that :func:`record` appends to and `benchmarks/report.py` makes a table of.
RESULTS = "BENCH_RESULTS"
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Result:
    """One row of the table. ``reach`` is the figure to reach (``targets.md``), ``ratio`` the one it is held against.

    ``most`` says that ``reach`` is an upper limit.
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
        own = f"{self.name}: casemill {show_figure(self.casemill)} {self.unit}"
        against = f" / {self.other_name} {show_figure(self.other)} {self.unit} = {self.ratio:.2f}" if self.other else ""
        return own + against + (f"  ({self.note})" if self.note else "")


def record(result: Result) -> None:
    """Print the line, and keep it for the table."""
    print(result.line, flush=True)
    if path := os.environ.get(RESULTS):
        with Path(path).open("a") as file:
            file.write(json.dumps({**asdict(result), "ratio": result.ratio, "script": Path(sys.argv[0]).name}) + "\n")


def say(words: str) -> None:
    """Progress, for whoever waits; not part of the results."""
    print(f"  {words}", file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0..1) of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def spread(values: Sequence[float]) -> str:
    """All runs, for the note behind a median."""
    return "runs: " + ", ".join(show_figure(value) for value in values)


def show_figure(value: float | None) -> str:
    """Three digits or so: nobody measures more."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def wait(condition: Callable[[], object], what: str, seconds: float = 120, pause: float = POLL_SECONDS) -> float:
    """Wait for ``condition``; answers the moment (`time.monotonic()`) at which it was seen to hold."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)
    return time.monotonic()


class Scene:
    """Servers, started when first asked for, in a folder that goes away; users, mills and databases in it."""

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
        server = DovecotServer(self._sub("dovecot"), make_certificates(self._sub("tls")))
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def postgres(self) -> PostgresServer:
        if find_postgres() is None:
            raise SystemExit("PostgreSQL is not installed (scripts/servers.sh)")
        server = PostgresServer(self._sub("postgres"))
        server.start()
        self._stack.callback(server.stop, "immediate")
        return server

    @cached_property
    def redis(self) -> RedisServer:
        if find_redis() is None:
            raise SystemExit("Redis is not installed (scripts/servers.sh)")
        server = RedisServer(self._sub("redis"))
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def sink(self) -> Sink:
        return self._stack.enter_context(sink())

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def new_user(self) -> str:
        """A mailbox with an empty INBOX."""
        name = f"support{self.serial()}"
        self.dovecot.add_user(name)
        return name

    def new_sqlite(self) -> str:
        """The URL of a database that is not there yet."""
        return f"sqlite:///{self.folder / f'{self.serial()}.db'}"

    def new_folder(self) -> Path:
        """An empty folder to watch."""
        return self._sub(f"drop{self.serial()}")

    def stage(self, user: str, mails: Sequence[bytes]) -> Callable[[], float]:
        """Write ``mails`` beside the INBOX; the call that is answered moves them in and tells the moment of the first.

        So a thousand mails are there within hundredths of a second, in the order given.
        """
        inbox = self.dovecot.maildir(user) / "new"
        staged = [self.dovecot.deliver(user, mail, "Staging") for mail in mails]
        os.sync()  # else the kernel writes down in the next run what the one before has left

        def move_in() -> float:
            began = time.monotonic()
            for path in staged:
                path.rename(inbox / path.name)
            return began

        return move_in

    def mailbox(self, name: str, user: str) -> str:
        """The section of the settings that has a user's INBOX watched from its first mail on."""
        server = self.dovecot
        lines = [
            f"[mailboxes.{name}]", f'host = "{server.host}"', f"port = {server.tls_port}", f'ca_file = "{server.ca_file}"',
            f'user = "{user}"', f'password = "{server.password}"', 'since = "all"',
        ]  # fmt: skip
        return "\n".join(lines)

    @contextmanager
    def told(self, user: str) -> Iterator[Callable[[], float | None]]:
        """A client of our own that waits by IDLE; the call that is given tells the moment at which it heard of mail, if it has.

        Dovecot tells all its clients half a second after a delivery (NOTIFY_DELAY_MSECS), whoever they are.
        """
        heard: list[float] = []
        with IMAPClient(self.dovecot.host, self.dovecot.port, ssl=False) as client:
            client.login(user, self.dovecot.password)
            client.select_folder("INBOX", readonly=True)
            client.idle()

            def listen() -> None:
                if client.idle_check(60):
                    heard.append(time.monotonic())

            thread = Thread(target=listen, daemon=True)
            thread.start()
            yield lambda: heard[0] if heard else None
            thread.join(60)
            client.idle_done()

    @contextmanager
    def system(self, mode: str, user: str = "", extra: str = "") -> Iterator[RunningCasemill]:
        """A casemill with an empty database and a few people, not yet started."""
        url = self.postgres.create_database() if mode == SCALED else ""
        system = RunningCasemill(self, mode, self._sub(f"system{self.serial()}"), user, url, extra)
        try:
            system.prepare()
            yield system
        finally:
            system.close()
            if url:
                self.postgres.drop_database(url)
            else:
                shutil.rmtree(system.data, ignore_errors=True)

    def _sub(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        return folder


class RunningCasemill:
    """A casemill in processes of its own, with the default settings; all it is told is where its servers are."""

    def __init__(self, scene: Scene, mode: str, folder: Path, user: str, database_url: str, extra: str) -> None:
        self.mode = mode
        self._scene = scene
        self.data = folder / "data"
        self.port = free_port()
        self.database_url = database_url or f"sqlite:///{self.data / 'casemill.db'}"
        self._config = folder / "casemill.toml"
        self.configure(user, extra)
        self._log = (folder / "log").open("a+b")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._engine = create_engine(self.database_url, isolation_level="AUTOCOMMIT")

    def configure(self, user: str, extra: str = "", notices: str = "") -> None:
        """Write the settings, for the next start; ``user`` is whose mailbox is watched, ``notices`` are more lines of it."""
        self._config.write_text(self._toml(self._scene, user, extra, notices))

    @property
    def pid(self) -> int:
        return self._processes[0].pid

    @property
    def pids(self) -> list[int]:
        """One a command of the mode, in its order."""
        return [process.pid for process in self._processes]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CASEMILL_CONFIG": str(self._config), "PYTHONPATH": str(ROOT)}

    def prepare(self) -> None:
        """Tables, six people and forty practices."""
        database = Database(self.database_url)
        migrations.upgrade(database)
        # Whatever the hour of the run: everybody is at work and has room.
        always = {"hours": "00:00-23:59", "weekdays": "Mon-Sun", "capacity": 2_000}
        with database.write() as session:
            for name in STAFF:
                add_staff(session, email=f"{name}@mill.example", name=name.replace(".", " ").title(), **always)
            for number in range(40):
                manager = f"{STAFF[number % len(STAFF)]}@mill.example"
                add_company(session, name=f"Clinic {number}", domains=f"clinic{number}.example", manager=manager)
        database.close()

    def start(self, *, wrapper: Sequence[str] = (), web: bool = False) -> None:
        """Start the processes of the mode; ``wrapper`` (a profiler) is put in front of the first, ``web`` adds the web server."""
        for number, command in enumerate([*COMMANDS[self.mode], *([[*COMMAND, "web"]] if web else [])]):
            argv = [*wrapper, *command] if number == 0 else command
            self._processes.append(subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=self._log, stderr=self._log))

    def run(self, *arguments: str) -> str:
        """One casemill command to its end; answers what it printed."""
        done = subprocess.run([*COMMAND, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def ask(self, statement: str, **values: Any) -> Any:
        """The first value the database answers."""
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).scalar()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """All rows the database answers."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def last_item(self) -> int:
        """The number of the item that came last, 0 before the first."""
        return int(self.ask("SELECT max(id) FROM inbound_item") or 0)

    def settled(self, after: int, count: int) -> bool:
        """Whether ``count`` items that came after item ``after`` have their outcome; their tickets were committed with it."""
        # What is open is in small indexes: so looking costs those who work the least.
        return self.arrived(after, count) and not self.has_open_items()

    def arrived(self, after: int, count: int) -> bool:
        """Whether ``count`` items came after item ``after``."""
        self._check()
        return bool(self.ask("SELECT count(*) FROM inbound_item WHERE id > :after", after=after) >= count)

    def has_open_items(self) -> bool:
        """Whether an item waits or is in hand."""
        self._check()
        one_of = "SELECT 1 FROM inbound_item WHERE state"
        return bool(self.ask(f"SELECT EXISTS ({one_of} = 'waiting') OR EXISTS ({one_of} = 'claimed')"))

    def at_rest(self) -> bool:
        """Whether nothing is left to be done: no item, no fact, no notice."""
        return not (
            self.has_open_items()
            or self.ask("SELECT 1 FROM outbox_fact WHERE done_at IS NULL LIMIT 1")
            or self.ask("SELECT 1 FROM delivery WHERE finished_at IS NULL AND state IN ('pending', 'ambiguous') LIMIT 1")
            or self.ask("SELECT 1 FROM delivery WHERE state IN ('claimed', 'intent') LIMIT 1")
        )

    def stop(self) -> None:
        """End the processes as Ctrl-C would."""
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

    def _toml(self, scene: Scene, user: str, extra: str, notices: str) -> str:
        redis_url = scene.redis.url if self.mode == SCALED else ""
        members = ", ".join(f'"{name}@mill.example"' for name in STAFF)
        lines = [
            f'data_dir = "{self.data}"', f'database_url = "{self.database_url}"',
            f'redis_url = "{redis_url}"', f'smtp_url = "{scene.sink.url}"',
            "[web]", f'listen = "127.0.0.1:{self.port}"',
            "[notices]", 'domain = "mill.example"', notices,
            "[teams.support]", "default = true", f"members = [{members}]",
        ]  # fmt: skip
        if user:
            lines.append(scene.mailbox("support", user))
        return "\n".join([*lines, extra]) + "\n"
