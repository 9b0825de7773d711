"""Checks of `casemill doctor` outside the database: disk, outgoing mail, Redis, mailboxes, folders and forms."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from core.findings import Finding, ok, problem, warning
from core.oauth.grants import TokenError
from core.settings import Settings
from core.settings.sections import Folder, Mailbox

if TYPE_CHECKING:
    from core.database.session import Database
    from ingest.sources.imap.session import ImapSession

CONNECT_TIMEOUT_SECONDS = 5.0
#: Less free disk space than this is a warning, and less than the second a problem.
LOW_DISK_BYTES, FULL_DISK_BYTES = 1024**3, 100 * 1024**2
MAILBOX_HINTS = {
    "login_refusal": "correct the mailbox's user and password",
    "untrusted_certificate": "set the mailbox's ca_file to the certificate of the authority that signed the server's",
    "tls_failure": "use a port with TLS (993), or set tls = false for a server on this machine",
    "unknown_host": "correct the mailbox's host",
    "timeout": "check host and port, and whether a firewall blocks the connection",
    "connection_refusal": "check host and port, and that the mail server is running",
    "token_refusal": "correct client_id, client_secret, tenant or refresh_token in the mailbox's oauth section "
    "(docs/sign-in-to-mail.md)",
    "token_unavailable": "check that this machine can reach the provider's sign-in address",
    "rejected_token": "give the application access to this mailbox (docs/sign-in-to-mail.md)",
    "missing_xoauth2": "this server accepts passwords only: remove auth from the mailbox's section",
    "unavailable_sign_in": "try again later: the server cannot check tokens at the moment",
    "server_refusal": "check that the folder exists and that the user may open it",
}


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """Check that the data folder can be written, and that its disk has free space."""
    folder = settings.data_dir
    if not folder.is_dir():
        yield problem("data_dir", f"{folder} is not a folder", "run `casemill init`, or set data_dir")
        return
    if not _can_write(folder):
        yield problem("data_dir", f"{folder} cannot be written", "give the account that runs casemill write access to it")
        return
    free = shutil.disk_usage(folder).free
    text = f"{folder} can be written; {free / 1024**3:.1f} GB free"
    if free < FULL_DISK_BYTES:
        yield problem("data_dir", text, "free some disk space: on a full disk casemill can accept nothing")
    elif free < LOW_DISK_BYTES:
        yield warning("data_dir", text, "free some disk space soon")
    else:
        yield ok("data_dir", text)


def check_mail_out(settings: Settings) -> Iterator[Finding]:
    """Check that the relay accepts the sign-in, or that the Maildir can be written. Sends no mail."""
    if settings.mail_out.startswith("maildir:"):
        yield _check_maildir(Path(settings.mail_out.removeprefix("maildir:")))
        return
    from notify.smtp_connection import SmtpRelay, connect
    from notify.transport import RelayUnavailable

    relay = SmtpRelay.parse(settings.mail_out, settings.smtp)
    try:
        connection = connect(
            relay, local_hostname=None, connect_timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=CONNECT_TIMEOUT_SECONDS
        )
    except RelayUnavailable as error:
        yield problem(
            "mail out", f"{relay.host}:{relay.port}: {error.reply}", "correct smtp_url, or check that the relay is running"
        )
        return
    with suppress(OSError):
        connection.docmd("QUIT")
    connection.close()
    trust = "TLS" if relay.implicit_tls or relay.starttls else "plain text"
    yield ok("mail out", f"{relay.host}:{relay.port} answers ({trust}{', signed in' if relay.user else ''})")


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check that Redis answers, if it is configured."""
    if not settings.redis_url:
        yield ok("redis", "not configured: `casemill run` works without it")
        return
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        client = Redis.from_url(
            settings.redis_url, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, socket_timeout=CONNECT_TIMEOUT_SECONDS
        )
        client.ping()
        client.close()
    except (RedisError, ValueError, OSError) as error:
        yield problem("redis", f"does not answer ({type(error).__name__})", "correct redis_url, or check that Redis is running")
        return
    yield ok("redis", "answers")


def check_mailbox(name: str, mailbox: Mailbox, database: Database | None) -> Iterator[Finding]:
    """Sign in and open the folder; report how much mail was, or will be, left out. Changes no flag and moves no mail."""
    from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code

    check = f"mailbox {name}"
    try:
        # Without move_to the session opens the folder read-only.
        with ImapSession(mailbox.model_copy(update={"move_to": ""})) as session:
            text = f"signed in, {mailbox.folder} has {session.selected.message_count:,} messages"
            yield ok(check, f"{text}; {_describe_left_out(name, mailbox, database, session)}")
    except MAIL_ERRORS as error:
        code = error_code(error)
        hint = MAILBOX_HINTS.get(code, "read the log of the mail server")
        reason = error.text if isinstance(error, TokenError) else code.replace("_", " ")
        yield problem(check, f"{mailbox.host}:{mailbox.port}: {reason}", hint)


def check_folder(name: str, folder: Folder) -> Iterator[Finding]:
    """Check that files can be read in the folder and moved inside it."""
    check = f"folder {name}"
    if not folder.path.exists():
        yield warning(check, f"{folder.path} does not exist yet; casemill creates it when it runs", f"check folders.{name}.path")
    elif not folder.path.is_dir():
        yield problem(check, f"{folder.path} is not a folder", f"correct folders.{name}.path")
    elif not _can_write(folder.path):
        yield problem(
            check, f"{folder.path} cannot be written", "give casemill write access to it: it moves files to done/ inside it"
        )
    else:
        files = sum(1 for entry in os.scandir(folder.path) if entry.is_file() and not entry.name.startswith("."))
        yield ok(check, f"{folder.path} can be used; {files} files in it")


def check_forms(settings: Settings) -> Iterator[Finding]:
    """Check that every form has a secret. A form without one accepts posts from any sender."""
    unsigned = [name for name, form in settings.forms.items() if not form.signature_keys and not form.handshake_key]
    for name in unsigned:
        yield warning("forms", f"form {name} is unsigned: any sender can post to it", f"set forms.{name}.signature_keys")
    if not unsigned:
        yield ok("forms", f"{len(settings.forms)} forms, each with a secret" if settings.forms else "none configured")


def _describe_left_out(name: str, mailbox: Mailbox, database: Database | None, session: ImapSession) -> str:
    row = None
    if database is not None:
        from ingest.sources.imap import cursors

        with database.read() as db:
            row = cursors.load(db, name)
    if row is not None:
        errors = f"; {row.errors} errors in a row, the last was {row.error}" if row.errors else ""
        return f"{row.left_out:,} from before casemill first read it were left out{errors}"
    if mailbox.since == "all":
        return "casemill will read all of them"
    if isinstance(mailbox.since, date):
        included = len(session.search_all(1, None, mailbox.since))
        return (
            f"casemill will read {included:,} from {mailbox.since} on and leave out {session.selected.message_count - included:,}"
        )
    return "casemill will leave out all of them: without since it reads only new mail"


def _check_maildir(path: Path) -> Finding:
    existing = next(folder for folder in (path / "new", path, *path.absolute().parents) if folder.is_dir())
    if _can_write(existing):
        return ok("mail out", f"no relay configured: mail goes to the Maildir {path}")
    return problem("mail out", f"the Maildir {path} cannot be written", "give casemill write access to it, or set smtp_url")


def _can_write(folder: Path) -> bool:
    """Write a file to find out, because permissions do not show a full or read-only disk."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".casemill-doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError:
        return False
    return True
