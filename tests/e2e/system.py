"""A complete casemill under test: its configuration, its processes, and queries of its database."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tests.servers.dovecot import DovecotServer
from tests.servers.ports import free_port
from tests.waiting import Deadline, scale_budget, wait_for_exit

ROOT = Path(__file__).resolve().parents[2]
FORM, KEY = "5512345", "e2e-signing-key"
COMMAND = [sys.executable, "-m", "cli"]
WORKERS = [sys.executable, "-m", "dramatiq", "workers", "--processes", "1", "--threads", "4"]


class System:
    """A casemill in a folder of its own. ``start`` takes the commands to run; every process can be killed."""

    def __init__(
        self,
        folder: Path,
        *,
        dovecot: DovecotServer | None = None,
        mailboxes: Sequence[str] = (),
        database_url: str = "",
        redis_url: str = "",
        smtp_url: str = "",
        extra: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Write the configuration. ``variables`` are added to the environment of every process."""
        self.variables = dict(variables or {})
        self.folder = folder
        self.port = free_port()
        self.data = folder / "data"
        self.drop = folder / "drop"
        self.database_url = database_url or f"sqlite:///{self.data / 'casemill.db'}"
        self.config = folder / "casemill.toml"
        self.config.write_text(self._toml(dovecot, mailboxes, redis_url, smtp_url, extra))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log = (folder / "log").open("ab")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, *commands: Sequence[str], ready: bool = True) -> None:
        """Start each command, ``casemill run`` without any; with ``ready`` wait until the web server answers."""
        for command in commands or ([*COMMAND, "run"],):
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=self._log, stderr=self._log))
        if ready:
            self.wait(lambda: self.get("/healthz") == 200, "the web server to answer", 90)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a casemill command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=check,
            timeout=scale_budget(120),
        )

    def kill(self, number: int = -1) -> None:
        """Kill one process (SIGKILL) and remove it from ``processes``."""
        process = self.processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> list[int]:
        """End all processes as Ctrl-C does, and return their exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        codes = []
        for process in self.processes:
            try:
                codes.append(wait_for_exit(process, 30))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        self.processes.clear()
        return codes

    def close(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            process.kill()
            process.wait()
        self._log.close()

    def environment(self) -> dict[str, str]:
        """Return the environment of the processes."""
        own = {"CASEMILL_CONFIG": str(self.config), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        return {**os.environ, **own, **self.variables}

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement))]
        finally:
            engine.dispose()

    def count(self, statement: str) -> int:
        """Return the number of rows of ``table WHERE …``."""
        return int(self.rows(f"SELECT count(*) FROM {statement}")[0][0])

    def get(self, path: str) -> int:
        """Return the HTTP status of a page; 0 when the server did not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=scale_budget(5)) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def post_form(self, submission: str, **answers: str) -> int:
        """Post a signed submission and return the HTTP status; 0 when the server did not answer."""
        body = json.dumps({"FormID": FORM, "UniqueID": submission, **answers}).encode()
        signature = "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-FS-Signature": signature}
        url = f"http://127.0.0.1:{self.port}/hooks/formstack/{FORM}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=scale_budget(10)) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def is_settled(self) -> bool:
        """Return whether no item, fact or delivery is open."""
        return not (
            self.count("inbound_item WHERE state != 'settled'")
            or self.count("outbox_fact WHERE done_at IS NULL")
            or self.count("delivery WHERE finished_at IS NULL")
        )

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for ``condition`` while all processes run. A failure names ``what`` and shows the end of the log."""
        deadline = Deadline(seconds)
        while not condition():
            for process in self.processes:
                if process.poll() is not None:
                    raise AssertionError(f"a process ended with {process.returncode}\n{self.log[-3000:]}")
            if deadline.has_passed():
                raise AssertionError(f"waited {deadline.budget:.0f} s in vain for {what}\n{self.log[-3000:]}")
            time.sleep(0.1)

    def _toml(self, dovecot: DovecotServer | None, mailboxes: Sequence[str], redis_url: str, smtp_url: str, extra: str) -> str:
        lines = [
            f'data_dir = "{self.data}"',
            f'database_url = "{self.database_url}"',
            f'redis_url = "{redis_url}"',
            f'smtp_url = "{smtp_url}"',
            "[web]",
            f'listen = "127.0.0.1:{self.port}"',
            "[notices]",
            'domain = "helpdesk.example"',
            "per_domain_hour = 100000",
            "total_hour = 100000",
            f"[forms.{FORM}]",
            f'signature_keys = ["{KEY}"]',
            "[folders.drop]",
            f'path = "{self.drop}"',
            "settle_seconds = 0.2",
            "poll_seconds = 0.5",
        ]
        for name in mailboxes:
            assert dovecot is not None
            lines += [
                f"[mailboxes.{name}]",
                f'host = "{dovecot.host}"',
                f"port = {dovecot.tls_port}",
                f'ca_file = "{dovecot.ca_file}"',
                f'user = "{name}"',
                f'password = "{dovecot.password}"',
                'since = "all"',
                "poll_seconds = 2",
                'move_to = "Done"',
            ]
        return "\n".join([*lines, extra]) + "\n"
