"""A trial: casemill in one mode under faults. It records what was injected, and so what must be the outcome."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.e2e.system import COMMAND, ROOT, WORKERS, System
from tests.faults import oracle
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import wrap
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer
from tests.waiting import Deadline, poll_until, wait_for_exit

#: The full form (`make faults`) has more runs, and waits for expiries that the short form writes into the database.
FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULT_SEED", "20261122"))
SECOND_MAILBOX = "kept"
CANARY = "zebrafinch-procedure-detail"
PROCESSES: dict[str, Sequence[str]] = {
    "run": [*COMMAND, "run"],
    "web": [*COMMAND, "web"],
    "watch": [*COMMAND, "watch"],
    "tick": [*COMMAND, "tick"],
    "workers": WORKERS,
}
MODES: dict[str, tuple[str, ...]] = {"embedded": ("run",), "scaled": ("web", "watch", "tick", "workers")}
#: A process ends with the thread that started it, so one thread that lives as long as the tests starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trial-starter")

LONG_AGO = "2020-01-01 00:00:00.000000"
#: The claims and leases that a dead process holds until they expire: table, column of the expiry, rows.
EXPIRING_CLAIMS: dict[str, list[tuple[str, str, str]]] = {
    "web": [],
    "watch": [("lease", "until", "name != 'clock'")],
    "tick": [("lease", "until", "name = 'clock'")],
    "workers": [
        ("inbound_item", "claim_until", "state = 'claimed'"),
        ("delivery", "claim_until", "state IN ('claimed', 'intent')"),
    ],
}


def modes(*short: str) -> tuple[str, ...]:
    """Return both modes in the full form, and the given ones in the short form."""
    return tuple(MODES) if FULL else short


@dataclass
class Servers:
    """The servers of a trial; Redis and PostgreSQL only in the scaled mode."""

    dovecot: DovecotServer
    smtp: SmtpServer
    redis: RedisServer | None = None
    postgres: PostgresServer | None = None


@dataclass(frozen=True)
class ImapRoute:
    """The address of Dovecot through a proxy, with the attributes that `System` reads."""

    host: str
    tls_port: int
    ca_file: Path
    password: str


def _second_mailbox_toml(road: ImapRoute) -> str:
    lines = [
        f"[mailboxes.{SECOND_MAILBOX}]",
        f'host = "{road.host}"',
        f"port = {road.tls_port}",
        f'ca_file = "{road.ca_file}"',
        f'user = "{SECOND_MAILBOX}"',
        f'password = "{road.password}"',
        'since = "all"',
        "poll_seconds = 2",
    ]
    return "\n".join(lines) + "\n"


def _handles_sigterm(pid: int) -> bool:
    """Return whether the process handles SIGTERM, as all processes of casemill do when they can be stopped (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


class Trial:
    """The processes by name, the injected items, and the check that everything is settled and correct."""

    def __init__(
        self,
        folder: Path,
        servers: Servers,
        *,
        imap_port: int = 0,
        smtp_port: int = 0,
        mailbox: str = "support",
        postgres_port: int = 0,
        tablespace: Path | None = None,
        watch_second_mailbox: bool = False,
        extra: str = "",
        smtp_url: str = "",
    ) -> None:
        """Write the configuration. The ports are those of proxies. Mail of the second mailbox is not moved."""
        folder.mkdir(parents=True, exist_ok=True)
        self.servers = servers
        self.mode = "scaled" if servers.postgres else "embedded"
        self.mailbox = mailbox
        self.nonces: list[str] = []
        self.poison: list[str] = []
        self.down: set[str] = set()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._url = servers.postgres.create_database(tablespace) if servers.postgres else ""
        dovecot = servers.dovecot
        dovecot.add_user(mailbox)
        road = ImapRoute(dovecot.host, imap_port or dovecot.tls_port, dovecot.ca_file, dovecot.password)
        if watch_second_mailbox:
            dovecot.add_user(SECOND_MAILBOX)
            extra += _second_mailbox_toml(road)
        own_port = servers.postgres.port if servers.postgres else 0
        self.system = System(
            folder,
            dovecot=road,  # type: ignore[arg-type]
            mailboxes=[mailbox],
            database_url=self._url.replace(f":{own_port}/", f":{postgres_port or own_port}/"),
            redis_url=servers.redis.url if servers.redis else "",
            smtp_url=smtp_url or f"smtp://127.0.0.1:{smtp_port or servers.smtp.port}",
            extra=extra,
        )
        self._log = (folder / "log").open("ab")
        waiting = {"options": "-c lock_timeout=40s"} if self._url else {"timeout": 40}
        self._engine = create_engine(self.system.database_url, connect_args=waiting)
        if self.mode == "scaled":
            self.system.run("migrate")

    # -- processes

    @property
    def names(self) -> tuple[str, ...]:
        return MODES[self.mode]

    def start(
        self,
        *names: str,
        ready: bool = True,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        crash_at: str = "",
        root: Path = ROOT,
    ) -> None:
        """Start these processes, by default all. A second process of a kind is named `watch2`, `workers2` and so on.

        ``before`` is put before the command line. ``crash_at`` is a failpoint at which the process kills itself.
        """
        added = {"CASEMILL_CRASH_AT": crash_at} if crash_at else {}
        variables = {**self.system.environment(), "PYTHONPATH": str(root), **(environment or {}), **added}
        for name in names or self.names:
            command = [*wrap(None, "KILL"), *before, *PROCESSES[name.rstrip("2")]]
            self._running[name] = _starter.submit(self._spawn, command, root, variables).result()
        if ready and {"run", "web"} & self._running.keys():
            self.wait(lambda: self.system.get("/healthz") == 200, "the web server to answer", 60)
        if ready and "tick" in self._running:
            self.wait(lambda: self.system.count("lease WHERE name = 'clock' AND token IS NOT NULL"), "the clock", 60)

    def _spawn(self, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=root, env=variables, stdout=self._log, stderr=self._log, start_new_session=True)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        os.killpg(self.pid(name), number)

    def kill(self, name: str) -> None:
        """Kill the process and its children (SIGKILL), and let its claims expire."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.expire_claims(name)

    def wait_for_exit(self, name: str, seconds: float = 60) -> int:
        """Wait until the process ends by itself, and return its exit code."""
        process = self._running.pop(name)
        try:
            code = wait_for_exit(process, seconds)
        except subprocess.TimeoutExpired:
            self._kill_group(process)
            raise AssertionError(f"{name} did not end by itself\n{self.system.log[-2000:]}") from None
        self._kill_group(process)
        self.expire_claims(name)
        return code

    def stop(self) -> dict[str, int]:
        """End all processes as Ctrl-C does, once they handle signals, and return their exit codes."""
        self.wait(
            lambda: all(_handles_sigterm(process.pid) for process in self._running.values()),
            "all processes to handle signals",
            60,
        )
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        codes = {name: self._wait_for_clean_exit(name, process) for name, process in self._running.items()}
        for process in self._running.values():
            self._kill_group(process)
        self._running.clear()
        return codes

    def wait_for_signal_handler(self, name: str, seconds: float = 60) -> None:
        """Wait until the process handles SIGTERM, or until the budget is used up."""
        poll_until(lambda: _handles_sigterm(self.pid(name)), seconds, pause=0.05)

    def _wait_for_clean_exit(self, name: str, process: subprocess.Popen[bytes]) -> int:
        try:
            return wait_for_exit(process, 60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end after SIGINT\n{self.system.log[-2000:]}") from None

    def close(self) -> None:
        """Kill the processes that still run, and drop the database."""
        for process in self._running.values():
            self._kill_group(process)
        self._running.clear()
        self._engine.dispose()
        self._log.close()
        self.system.close()
        if self.servers.postgres:
            self.servers.postgres.drop_database(self._url)

    def _kill_group(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    # -- time

    def expire_claims(self, name: str) -> None:
        """Let the claims of a dead process expire. In the full form they expire by time."""
        # The embedded process takes over all claims when it starts.
        if FULL or name == "run":
            return
        for table, column, where in EXPIRING_CLAIMS[name.rstrip("2")]:
            self.execute(f"UPDATE {table} SET {column} = '{LONG_AGO}' WHERE {where}")

    def make_retries_due(self) -> None:
        """Make all deferred and ambiguous deliveries due now."""
        waiting = "finished_at IS NULL AND state IN ('pending', 'ambiguous')"
        self.execute(f"UPDATE delivery SET due_at = '{LONG_AGO}' WHERE {waiting}")

    def execute(self, statement: str) -> None:
        """Run a statement that changes rows."""
        with self._engine.begin() as connection:
            connection.execute(text(statement))

    # -- input

    def send_mails(self, count: int = 1, **what: str) -> list[str]:
        """Deliver mails into the watched mailbox and return their nonces."""
        return [self.send_mail(**what) for _ in range(count)]

    def send_mail(self, body: str = "", header: str = "", kind: str = "mail", mailbox: str = "") -> str:
        """Deliver a mail into the watched mailbox and return its nonce."""
        nonce = self._nonce(kind)
        number = len(self.nonces)
        head = (
            f"From: Person {number} <p{number}@practice{number}.example>\r\nTo: support@helpdesk.example\r\n{header}"
            f"Subject: Question {nonce}\r\nMessage-ID: <{nonce}@practice.example>\r\n"
            f"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nWhat about the {CANARY} of {nonce}?\r\n"
        )
        self.servers.dovecot.deliver(mailbox or self.mailbox, (head + body).encode())
        return nonce

    def send_poison(self, harm: str) -> str:
        """Deliver a mail that does ``harm`` to the vulnerable parser of ``test_poison.py``."""
        nonce = self.send_mail(header=f"X-Harm: {harm}\r\n", kind="poison")
        self.poison.append(nonce)
        return nonce

    def send_hostile(self, message: bytes) -> str:
        """Deliver a mail that may have any outcome, but exactly one."""
        nonce = self._nonce("hostile")
        self.servers.dovecot.deliver(self.mailbox, f"X-Nonce: {nonce}\r\n".encode() + message)
        return nonce

    def drop_file(self) -> str:
        """Put a mail as a file into the watched folder."""
        nonce = self._nonce("file")
        self.system.drop.mkdir(exist_ok=True)
        head = f"From: <{nonce}@files.example>\r\nSubject: File {nonce}\r\nMessage-ID: <{nonce}@files.example>\r\n"
        draft = self.system.folder / f"{nonce}.eml"
        draft.write_text(f"{head}\r\n{CANARY}\r\n")
        draft.rename(self.system.drop / draft.name)
        return nonce

    def send_form(self, seconds: float = 60) -> str:
        """Post a form until it is accepted, as Formstack does, and return its nonce."""
        nonce = self.new_form()
        self.post_until_accepted(nonce, seconds)
        return nonce

    def new_form(self) -> str:
        """Return the nonce of a form that is not posted yet."""
        return self._nonce("form")

    def post_until_accepted(self, nonce: str, seconds: float = 60) -> None:
        """Post the form with this nonce until it is accepted."""
        assert poll_until(lambda: self.post(nonce) == 200, seconds, pause=0.1), "a form was not accepted in time"

    def post(self, nonce: str) -> int:
        """Post the form with this nonce and return the HTTP status; 0 when the server did not answer."""
        number = int(nonce[4:-1])
        answers = {"email": f"f{number}@clinic{number}.example", "subject": f"Form {nonce}", "details": CANARY}
        return self.system.post_form(str(9_000_000 + number), **answers)

    def _nonce(self, kind: str) -> str:
        nonce = f"{kind}{len(self.nonces)}x"
        self.nonces.append(nonce)
        return nonce

    # -- outcome

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for ``condition`` while all processes run. While the database is unreachable, the condition does not hold."""
        deadline = Deadline(seconds)
        while not self._is_met(condition):
            for name, process in self._running.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.system.log[-3000:]}"
            assert not deadline.has_passed(), f"waited {deadline.budget:.0f} s in vain for {what}\n{self.state()}"
            time.sleep(0.1)

    def _is_met(self, condition: Callable[[], object]) -> bool:
        try:
            return bool(condition())
        except DBAPIError:
            return False

    def settle(self, seconds: float = 60, *, make_retries_due: bool = False) -> None:
        """Wait until every injected item has its ticket and no item, fact or delivery is open."""

        def done() -> bool:
            if make_retries_due:
                self.make_retries_due()
            named = [nonce for nonce in self.nonces if not nonce.startswith("hostile")]
            items = self.system.count("inbound_item WHERE parent_id IS NULL")
            return items >= len(self.nonces) and self.system.count("ticket") >= len(named) and self.system.is_settled()

        self.wait(done, "everything to be settled", seconds)

    def check(self) -> None:
        """Check everything with the oracle."""
        sink = [message.content for message in self.servers.smtp.messages]
        redis = self.servers.redis.url if self.servers.redis else ""
        oracle.check(self.system, self.nonces, sink, poison=self.poison, canaries=[CANARY], redis_url=redis)

    def state(self) -> str:
        """Return the open items, facts, deliveries and leases, and the end of the log, for the text of a failure."""
        try:
            rows = [
                *self.system.rows("SELECT 'item', id, state, disposition, due_at FROM inbound_item WHERE state != 'settled'"),
                *self.system.rows("SELECT 'fact', id, kind, attempts, due_at FROM outbox_fact WHERE done_at IS NULL"),
                *self.system.rows("SELECT 'delivery', id, state, reason, due_at FROM delivery WHERE finished_at IS NULL"),
                *self.system.rows("SELECT 'lease', name, token, until, beat_at FROM lease"),
                *self.system.rows("SELECT 'tickets', count(*), 0, 0, 0 FROM ticket"),
            ]
        except DBAPIError as error:
            rows = [("the database does not answer", type(error).__name__)]
        return "\n".join([*(str(row) for row in rows[:60]), f"{len(self.nonces)} injected", self.system.log[-3000:]])
