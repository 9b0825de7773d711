"""A server process: started, awaited until it answers, stopped reliably, and killed when the tests end."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.waiting import poll_until, wait_for_exit

# Linux sends the parent-death signal when the *thread* that started the child ends. So one thread that lives as long as the
# tests starts all processes, and a test may restart a server from any thread.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-starter")

_EXTRA_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class ServerError(RuntimeError):
    """A server did not start or stop. The text ends with the last lines of its log."""


@dataclass(frozen=True)
class Account:
    """The user a server runs as."""

    name: str
    uid: int
    gid: int


def find_program(*names: str, folders: Sequence[str] = (), last: Sequence[str] = ()) -> str | None:
    """Return the path of the first of these programs, searched in `folders`, PATH, Debian's folders for daemons, and `last`."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), *_EXTRA_FOLDERS, *last])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def wheel_folders(pattern: str) -> list[str]:
    """Return the matching folders of the wheels that scripts/servers.sh unpacks beside the environment, newest first."""
    unpacked = Path(sys.prefix) / "servers"
    return sorted((str(folder) for folder in unpacked.glob(pattern)), reverse=True)


def current_account() -> Account:
    """Return the account that runs the tests."""
    entry = pwd.getpwuid(os.geteuid())
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def unprivileged_account(*names: str) -> Account:
    """Return the current account, or for root the first of these accounts that exists; `nobody` is the last."""
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
    """A foreground program in its own session, with its output in a log file."""

    def __init__(self, argv: Sequence[str], *, folder: Path, account: Account | None = None, death_signal: str = "KILL") -> None:
        self.log = folder / "server.log"
        self._argv = [*wrap(account, death_signal), *argv]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return whether the process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        """Start and wait until `ready()` holds. Raises ServerError with the end of the log if it does not within the budget."""
        if self.running:
            return
        self._process = _starter.submit(self._spawn).result()
        if not poll_until(lambda: ready() or not self.running, seconds) or not self.running:
            self.end(signal.SIGKILL)
            raise ServerError(f"{self._argv[-1]} did not start:\n{self.log_end()}")

    def end(self, how: signal.Signals, *, seconds: float = 15) -> None:
        """Send the signal `how` and wait for the end of the process; after the budget kill its whole session."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process, signal.SIGCONT)
        _signal(process, how)
        try:
            wait_for_exit(process, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def suspend(self) -> None:
        """Stop the process with SIGSTOP: connections stay open and are not answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a suspended process."""
        os.kill(self.pid, signal.SIGCONT)

    def log_end(self, lines: int = 20) -> str:
        """Return the last lines of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )


def wrap(account: Account | None, death_signal: str | None = None) -> list[str]:
    """Return the `setpriv` command that changes the account and ends the process with the tests; [] without setpriv."""
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
