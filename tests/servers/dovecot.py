"""A private Dovecot: Maildirs in a temporary folder, a plain port and a TLS port, on loopback."""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from imapclient import imap_utf7

from tests.servers.dovecot_config import OAUTH2_CONF, PASSWORD, Layout, render_configuration
from tests.servers.ports import free_port
from tests.servers.process import ServerError, ServerProcess, find_program, unprivileged_account
from tests.servers.tls import Certificates


def find_dovecot() -> str | None:
    """Path of the `dovecot` program when its IMAP part is there too, else None."""
    program = find_program("dovecot")
    imap = find_program("imap-login", folders=["/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot"])
    return program if imap else None


class DovecotServer:
    """Users are made per test; every user's password is `password`; `reset` forgets all of them.

    With an `introspection_url` it takes no passwords, only tokens that the service there calls good.
    """

    password = PASSWORD
    host = "localhost"

    def __init__(self, folder: Path, certificates: Certificates, introspection_url: str | None = None) -> None:
        program = find_dovecot()
        if program is None:
            raise ServerError("dovecot (with IMAP) is not installed")
        self.port = free_port()
        self.tls_port = free_port()
        self.ca_file = certificates.ca_file
        self._account = unprivileged_account("dovecot")
        self._folder = folder
        self._users = folder / "users"
        self._introspection_url = introspection_url
        self._serial = itertools.count(1)
        self._write_configuration(program, certificates)
        self.process = ServerProcess([program, "-F", "-c", str(folder / "dovecot.conf")], folder=folder, death_signal="TERM")
        self.reset()

    def start(self) -> None:
        """Start (again) on the same ports; mail and users are as they were."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Stop; every connection is closed."""
        self.process.end(signal.SIGTERM)

    def reset(self) -> None:
        """Cut all connections and forget all users and their mail."""
        self.cut_connections()
        for file in self._users.iterdir():
            file.unlink()
        for home in (self._folder / "mail").iterdir():
            shutil.rmtree(home, ignore_errors=True)

    def add_user(self, name: str) -> None:
        """Make a user with an empty INBOX; the password is `password`."""
        self.maildir(name)
        owner = f"{self._account.uid}:{self._account.gid}"
        (self._users / name).write_text(f"{name}:{{PLAIN}}{PASSWORD}:{owner}::{self._home(name)}::\n")
        if self._introspection_url is not None:
            return  # nobody has asked for the name before
        # Dovecot looks at a file once a second at most: a name that just failed goes on failing until then.
        deadline = time.monotonic() + 5
        while self.process.running and not self._doveadm("auth", "test", name, PASSWORD):
            if time.monotonic() > deadline:
                raise ServerError(f"dovecot does not know {name}:\n{self.process.log_end()}")
            time.sleep(0.1)

    def cut_connections(self) -> None:
        """End every user's connections without a word to the client."""
        if self.process.running:
            self._doveadm("kick", "*")

    def deliver(self, user: str, message: bytes, folder: str = "INBOX") -> Path:
        """Put a message into the folder (made when missing) as a delivery agent does: tmp/, then new/."""
        maildir = self.maildir(user, folder)
        name = f"{time.time():.6f}.{os.getpid()}_{next(self._serial)}.tests"
        draft = maildir / "tmp" / name
        draft.write_bytes(message)
        self._own(draft)
        arrived = maildir / "new" / name
        draft.rename(arrived)
        return arrived

    def messages(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """The messages in the folder, oldest delivery first; [] when there is no such folder."""
        files = [path for path in self._files(user, folder) if path.is_file()]
        return [path.read_bytes() for path in sorted(files, key=lambda path: path.name)]

    def count(self, user: str, folder: str = "INBOX") -> int:
        """Number of messages in the folder; 0 when there is no such folder."""
        return len(self._files(user, folder))

    def reset_uidvalidity(self, user: str, folder: str = "INBOX") -> None:
        """Lose the folder's UID list and indexes, as a restored backup does: a new UIDVALIDITY, new UIDs."""
        path = self._path(user, folder)
        # UIDVALIDITY is the second it is made in: within one second the new one would equal the old.
        before = _uidvalidity(path)
        while before and int(time.time()) <= before:
            time.sleep(0.05)
        for name in ("dovecot-uidlist", "dovecot-uidvalidity*", "dovecot.index*", "dovecot.list.index*"):
            for file in [*path.glob(name), *self._path(user, "INBOX").glob(name)]:
                file.unlink(missing_ok=True)

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """The folder's Maildir, made when missing."""
        self._own_folder(self._home(user))
        self._own_folder(self._home(user) / "Maildir")
        path = self._path(user, folder)
        self._own_folder(path)
        for part in ("tmp", "new", "cur"):
            self._own_folder(path / part)
        return path

    def _home(self, user: str) -> Path:
        return self._folder / "mail" / user

    def _path(self, user: str, folder: str) -> Path:
        inbox = self._home(user) / "Maildir"
        if folder.upper() == "INBOX":
            return inbox
        encoded: bytes = imap_utf7.encode(folder)
        return inbox / ("." + encoded.decode("ascii").replace("/", "."))

    def _files(self, user: str, folder: str) -> list[Path]:
        path = self._path(user, folder)
        return [*path.glob("new/*"), *path.glob("cur/*")]

    def _write_configuration(self, program: str, certificates: Certificates) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)
        self._own_folder(self._folder / "mail")
        self._users.mkdir(exist_ok=True)
        layout = Layout(
            folder=self._folder,
            users=self._users,
            certificates=certificates,
            port=self.port,
            tls_port=self.tls_port,
            account=self._account,
            introspection_url=self._introspection_url,
        )
        if self._introspection_url is not None:
            (self._folder / "oauth2.conf").write_text(OAUTH2_CONF.format(introspection_url=self._introspection_url))
        text = render_configuration(layout, _program_version(program))
        (self._folder / "dovecot.conf").write_text(text)

    def _own_folder(self, path: Path) -> None:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            self._own(path)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self._account.uid, self._account.gid)

    def _doveadm(self, *arguments: str) -> bool:
        program = find_program("doveadm")
        if program is None:
            raise ServerError("doveadm is not installed")
        conf = str(self._folder / "dovecot.conf")
        return subprocess.run([program, "-c", conf, *arguments], capture_output=True, check=False).returncode == 0

    def _answers(self) -> bool:
        return _greets(self.port) and _greets(self.tls_port, wait=False)


def _greets(port: int, wait: bool = True) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return not wait or connection.recv(4) == b"* OK"
    except OSError:
        return False


def _program_version(program: str) -> tuple[int, ...]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    numbers = re.match(r"[\d.]+", answer.stdout.strip())
    if numbers is None:
        raise ServerError("dovecot --version names no version")
    return tuple(int(part) for part in numbers.group().strip(".").split("."))


def _uidvalidity(maildir: Path) -> int | None:
    """The V field of dovecot-uidlist's first line, None before the folder was first opened."""
    try:
        header = (maildir / "dovecot-uidlist").read_text(errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return None
    found = re.search(r" V(\d+)", header)
    return int(found.group(1)) if found else None
