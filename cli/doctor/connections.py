"""Doctor's checks of what is outside the database: the disk, mail out, Redis, mailboxes, folders and forms."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cli.doctor.run import Finding, ok, problem, warning
from core.oauth.tokens import TokenError
from core.settings import Settings
from core.settings.sections import Folder, Mailbox

if TYPE_CHECKING:
    from core.database.session import Database
    from ingest.sources.imap.session import ImapSession

SECONDS = 5.0
#: Below these a disk is nearly full.
LITTLE_BYTES, TOO_LITTLE_BYTES = 1024**3, 100 * 1024**2
MAILBOX_HINTS = {
    "login_refusal": "correct user and password of the mailbox",
    "untrusted_certificate": "name the authority that signed it in ca_file",
    "tls_failure": "see that the port speaks TLS (993), or set tls = false for a server on this machine",
    "unknown_host": "correct the host",
    "timeout": "see that host and port are right and that no firewall is in the way",
    "connection_refusal": "see that host and port are right and that the server runs",
    "token_refusal": "correct the mailbox's oauth section: client_id, client_secret, tenant or refresh_token; see "
    "docs/sign-in-to-mail.md",
    "token_unavailable": "see that the provider's sign-in address can be reached from here",
    "rejected_token": "see that the application may use this mailbox (docs/sign-in-to-mail.md)",
    "missing_xoauth2": "this server takes passwords only: leave auth out",
    "unavailable_sign_in": "try again in a while: the server cannot check tokens",
    "server_refusal": "see that the folder exists and may be opened",
}


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Whether files can be made in the data folder, and how much room its disk has."""
    folder = settings.data_dir
    if not folder.is_dir():
        yield problem("data_dir", f"{folder} is no folder", "run `casemill init`, or set data_dir")
        return
    if not _can_write(folder):
        yield problem("data_dir", f"{folder} cannot be written", "give the account that runs casemill the right to write there")
        return
    free = shutil.disk_usage(folder).free
    text = f"{folder} can be written; {free / 1024**3:.1f} GB free"
    if free < TOO_LITTLE_BYTES:
        yield problem("data_dir", text, "make room: nothing can be taken in on a full disk")
    elif free < LITTLE_BYTES:
        yield warning("data_dir", text, "make room soon")
    else:
        yield ok("data_dir", text)


def check_mail_out(settings: Settings) -> Iterator[Finding]:
    """Whether the relay lets us sign in, or the Maildir can be written. No mail is sent."""
    if settings.mail_out.startswith("maildir:"):
        yield _check_maildir(Path(settings.mail_out.removeprefix("maildir:")))
        return
    from notify.smtp_connection import Relay, connect
    from notify.transport import RelayUnavailable

    relay = Relay.parse(settings.mail_out, settings.smtp)
    try:
        connection = connect(relay, local_hostname=None, connect_timeout=SECONDS, command_timeout=SECONDS)
    except RelayUnavailable as error:
        yield problem("mail out", f"{relay.host}:{relay.port}: {error.reply}", "correct smtp_url, or see that the relay runs")
        return
    with suppress(OSError):
        connection.docmd("QUIT")
    connection.close()
    trust = "TLS" if relay.implicit_tls or relay.starttls else "plain text"
    yield ok("mail out", f"{relay.host}:{relay.port} answers ({trust}{', signed in' if relay.user else ''})")


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Whether Redis answers, when it is configured."""
    if not settings.redis_url:
        yield ok("redis", "not configured: `casemill run` works without it")
        return
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        client = Redis.from_url(settings.redis_url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS)
        client.ping()
        client.close()
    except (RedisError, ValueError, OSError) as error:
        yield problem("redis", f"does not answer ({type(error).__name__})", "correct redis_url, or see that Redis runs")
        return
    yield ok("redis", "answers")


def check_mailbox(name: str, mailbox: Mailbox, database: Database | None) -> Iterator[Finding]:
    """Signs in and opens the folder; says how much mail was (or will be) left out. Changes no flag."""
    from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code

    check = f"mailbox {name}"
    try:
        # Opened read-only whatever is configured: doctor moves nothing.
        with ImapSession(mailbox.model_copy(update={"move_to": ""})) as session:
            text = f"signed in, {mailbox.folder} has {session.selected.exists:,} messages"
            yield ok(check, f"{text}; {_left_out(name, mailbox, database, session)}")
    except MAIL_ERRORS as error:
        code = error_code(error)
        hint = MAILBOX_HINTS.get(code, "see the server's own log")
        told = error.text if isinstance(error, TokenError) else code.replace("_", " ")
        yield problem(check, f"{mailbox.host}:{mailbox.port}: {told}", hint)


def check_folder(name: str, folder: Folder) -> Iterator[Finding]:
    """Whether files can be taken from the folder and put away inside it."""
    check = f"folder {name}"
    if not folder.path.exists():
        yield warning(check, f"{folder.path} is not there yet; it is made when casemill runs", "see that the path is right")
    elif not folder.path.is_dir():
        yield problem(check, f"{folder.path} is no folder", f"correct folders.{name}.path")
    elif not _can_write(folder.path):
        yield problem(check, f"{folder.path} cannot be written", "files are moved to done/ inside it: give that right")
    else:
        files = sum(1 for entry in os.scandir(folder.path) if entry.is_file() and not entry.name.startswith("."))
        yield ok(check, f"{folder.path} can be used; {files} files in it")


def check_forms(settings: Settings) -> Iterator[Finding]:
    """Which forms accept posts from anybody."""
    unsigned = [name for name, form in settings.forms.items() if not form.signature_keys and not form.handshake_key]
    for name in unsigned:
        yield warning("forms", f"form {name} is unsigned: anybody can post", f"set forms.{name}.signature_keys")
    if not unsigned:
        yield ok("forms", f"{len(settings.forms)} forms, each with a secret" if settings.forms else "none configured")


def _left_out(name: str, mailbox: Mailbox, database: Database | None, session: ImapSession) -> str:
    row = None
    if database is not None:
        from ingest.sources.imap import cursors

        with database.read() as db:
            row = cursors.load(db, name)
    if row is not None:
        trouble = f"; {row.errors} errors in a row, the last was {row.error}" if row.errors else ""
        return f"{row.left_out:,} from before the first contact were left out{trouble}"
    if mailbox.since == "all":
        return "all of them will be taken"
    if isinstance(mailbox.since, date):
        wanted = len(session.search_all(1, None, mailbox.since))
        return f"{wanted:,} from {mailbox.since} on will be taken, {session.selected.exists - wanted:,} left out"
    return "all of them will be left out, because only new mail is taken (since)"


def _check_maildir(path: Path) -> Finding:
    existing = next(folder for folder in (path / "new", path, *path.absolute().parents) if folder.is_dir())
    if _can_write(existing):
        return ok("mail out", f"no relay configured: mail goes to the Maildir {path}")
    return problem("mail out", f"the Maildir {path} cannot be written", "give the right to write there, or set smtp_url")


def _can_write(folder: Path) -> bool:
    """Tried, not asked: permissions say nothing about a full or read-only disk."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".casemill-doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError:
        return False
    return True
