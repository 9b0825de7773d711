"""One server process: started, watched until it answers, stopped for certain, dead when the tests die."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Linux sends the parent-death signal when the *thread* that started the child ends, so one thread that
# lives as long as the tests starts all of them: a test may then restart a server from a thread of its own.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-starter")

_EXTRA_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class ServerError(RuntimeError):
    """A server did not start or stop; the text ends with the last lines of its log."""


@dataclass(frozen=True)
class Account:
    """The user a server runs as."""

    name: str
    uid: int
    gid: int


def find_program(*names: str, folders: Sequence[str] = (), last: Sequence[str] = ()) -> str | None:
    """Path of the first of these programs found in `folders`, on PATH, where Debian keeps daemons, in `last`."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), *_EXTRA_FOLDERS, *last])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def wheel_folders(pattern: str) -> list[str]:
    """Matching folders among the unpacked wheels scripts/servers.sh puts beside the environment, newest first."""
    unpacked = Path(sys.prefix) / "servers"
    return sorted((str(folder) for folder in unpacked.glob(pattern)), reverse=True)


def current_account() -> Account:
    """The account the tests run as."""
    entry = pwd.getpwuid(os.geteuid())
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def unprivileged_account(*names: str) -> Account:
    """The current account, or as root the first of these accounts that exists (`nobody` always does)."""
    if os.geteuid() != 0:
        return current_account()
    for name in (*names, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ServerError("no unprivileged account to run a server as")


class ServerProcess:
    """A program in its own session, in the foreground, its output in a log file."""

    def __init__(self, argv: Sequence[str], *, folder: Path, account: Account | None = None, death_signal: str = "KILL") -> None:
        self.log = folder / "server.log"
        self._argv = [*wrap(account, death_signal), *argv]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True between `start` and the process's end."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        """Start and wait until `ready()`; raises ServerError with the log's end when that fails."""
        if self.running:
            return
        self._process = _starter.submit(self._spawn).result()
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise ServerError(f"{self._argv[-1]} did not start:\n{self.log_end()}")
            time.sleep(0.02)

    def end(self, how: signal.Signals, *, seconds: float = 15) -> None:
        """Send `how`, wait for the end, and after `seconds` kill the whole session."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process, signal.SIGCONT)
        _signal(process, how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def suspend(self) -> None:
        """Freeze the process (SIGSTOP): it keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def log_end(self, lines: int = 20) -> str:
        """The last lines the server wrote."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )


def wrap(account: Account | None, death_signal: str | None = None) -> list[str]:
    """The `setpriv` command line that takes on the account and dies with the tests; [] where there is none."""
    setpriv = find_program("setpriv")
    other = account is not None and account.uid != os.geteuid()
    if setpriv is None:
        if other:
            raise ServerError("changing the account needs setpriv (package util-linux)")
        return []
    options = ["--pdeathsig", death_signal] if death_signal and _knows_pdeathsig(setpriv) else []
    if account is not None and other:
        options += ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    return [setpriv, *options, "--"] if options else []


@cache
def _knows_pdeathsig(setpriv: str) -> bool:
    answer = subprocess.run([setpriv, "--help"], capture_output=True, check=False)
    return b"--pdeathsig" in answer.stdout


def _signal(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
