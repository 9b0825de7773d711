"""A private Dovecot on loopback: Maildirs in a temporary folder, one port without TLS and one with."""

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
from tests.waiting import poll_until, scale_budget


def find_dovecot() -> str | None:
    """Return the path of `dovecot` if its IMAP server is installed too, else None."""
    program = find_program("dovecot")
    imap = find_program("imap-login", folders=["/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot"])
    return program if imap else None


class DovecotServer:
    """A Dovecot whose users are created by each test and removed by `reset`. All have the same password, `password`.

    With an `introspection_url` it accepts only tokens that the service at that URL confirms.
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
        """Start on the same ports; mail and users are kept."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Stop and close all connections."""
        self.process.end(signal.SIGTERM)

    def reset(self) -> None:
        """Cut all connections and remove all users and their mail."""
        self.cut_connections()
        for file in self._users.iterdir():
            file.unlink()
        for home in (self._folder / "mail").iterdir():
            shutil.rmtree(home, ignore_errors=True)

    def add_user(self, name: str) -> None:
        """Create a user with an empty INBOX and the password `password`."""
        self.maildir(name)
        owner = f"{self._account.uid}:{self._account.gid}"
        (self._users / name).write_text(f"{name}:{{PLAIN}}{PASSWORD}:{owner}::{self._home(name)}::\n")
        if self._introspection_url is not None:
            # With tokens, no sign-in of this name can have failed before.
            return
        # Dovecot reads a passwd-file at most once a second: a name that failed just now fails until then.
        known = poll_until(lambda: not self.process.running or self._doveadm("auth", "test", name, PASSWORD), 5, pause=0.1)
        if not known:
            raise ServerError(f"dovecot does not know {name}:\n{self.process.log_end()}")

    def cut_connections(self) -> None:
        """Cut the connections of all users."""
        if self.process.running:
            self._doveadm("kick", "*")

    def deliver(self, user: str, message: bytes, folder: str = "INBOX") -> Path:
        """Deliver a message into the folder, created if missing, as a delivery agent does: first into tmp/, then into new/."""
        maildir = self.maildir(user, folder)
        name = f"{time.time():.6f}.{os.getpid()}_{next(self._serial)}.tests"
        draft = maildir / "tmp" / name
        draft.write_bytes(message)
        self._own(draft)
        arrived = maildir / "new" / name
        draft.rename(arrived)
        return arrived

    def messages(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """Return the messages in the folder in the order of delivery; [] if there is no such folder."""
        files = [path for path in self._files(user, folder) if path.is_file()]
        return [path.read_bytes() for path in sorted(files, key=lambda path: path.name)]

    def count(self, user: str, folder: str = "INBOX") -> int:
        """Return the number of messages in the folder; 0 if there is no such folder."""
        return len(self._files(user, folder))

    def reset_uidvalidity(self, user: str, folder: str = "INBOX") -> None:
        """Remove the folder's UID list and indexes, as a restored backup does: UIDVALIDITY and all UIDs change."""
        path = self._path(user, folder)
        # UIDVALIDITY is the second of its creation: within the same second the new value would equal the old one.
        before = _uidvalidity(path)
        while before and int(time.time()) <= before:
            time.sleep(0.05)
        for name in ("dovecot-uidlist", "dovecot-uidvalidity*", "dovecot.index*", "dovecot.list.index*"):
            for file in [*path.glob(name), *self._path(user, "INBOX").glob(name)]:
                file.unlink(missing_ok=True)

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """Return the folder's Maildir, created if missing."""
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
        with socket.create_connection(("127.0.0.1", port), timeout=scale_budget(5)) as connection:
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
    """Return the V field of the first line of dovecot-uidlist; None if the folder has not been opened yet."""
    try:
        header = (maildir / "dovecot-uidlist").read_text(errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return None
    found = re.search(r" V(\d+)", header)
    return int(found.group(1)) if found else None
