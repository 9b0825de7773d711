"""The Maildir transport on a real file system."""

import mailbox
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from notify.maildir import MaildirTransport
from notify.transport import PermanentFailure, TemporaryFailure

DATA = b"Subject: hello\r\nMessage-ID: <d1@care.example>\r\n\r\nA line\r\n.\r\n"


def send(
    transport: MaildirTransport, key: str = "created:1", before_dot: Callable[[], None] = lambda: None, data: bytes = DATA
) -> str:
    return transport.transmit("bounce+d1.mac@care.example", "pat@clinic.example", data, key, before_dot)


def files(path: Path, folder: str) -> list[Path]:
    return sorted((path / folder).iterdir())


def test_message_is_stored_unchanged_in_new_below_its_envelope(tmp_path: Path) -> None:
    reply = send(MaildirTransport(tmp_path / "deep" / "sent"))
    (file,) = files(tmp_path / "deep" / "sent", "new")
    assert reply == f"250 2.0.0 stored as new/{file.name}"
    envelope = b"Return-Path: <bounce+d1.mac@care.example>\r\nDelivered-To: pat@clinic.example\r\n"
    assert file.read_bytes() == envelope + DATA
    assert files(tmp_path / "deep" / "sent", "tmp") == []


def test_mail_program_can_read_stored_message(tmp_path: Path) -> None:
    send(MaildirTransport(tmp_path / "sent"))
    (message,) = mailbox.Maildir(tmp_path / "sent")
    assert message["Subject"] == "hello"
    assert message["Delivered-To"] == "pat@clinic.example"


def test_repeated_delivery_replaces_its_file(tmp_path: Path) -> None:
    send(MaildirTransport(tmp_path))
    send(MaildirTransport(tmp_path))
    assert len(files(tmp_path, "new")) == 1
    send(MaildirTransport(tmp_path), key="created:2")
    assert len(files(tmp_path, "new")) == 2


def test_delivery_key_never_leads_out_of_folder(tmp_path: Path) -> None:
    send(MaildirTransport(tmp_path / "sent"), key="../../evil/\0name")
    assert len(files(tmp_path / "sent", "new")) == 1


def test_intent_is_committed_before_message_appears_in_new(tmp_path: Path) -> None:
    seen: list[int] = []
    send(MaildirTransport(tmp_path), before_dot=lambda: seen.append(len(files(tmp_path, "new"))))
    assert seen == [0]


def test_exception_from_intent_commit_propagates_and_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(MaildirTransport(tmp_path), before_dot=fail)
    assert files(tmp_path, "new") == files(tmp_path, "tmp") == []


def test_missing_folder_is_temporary_failure(tmp_path: Path) -> None:
    transport = MaildirTransport(tmp_path / "sent")
    (tmp_path / "sent" / "tmp").rmdir()
    calls: list[int] = []
    with pytest.raises(TemporaryFailure, match="could not be written"):
        send(transport, before_dot=lambda: calls.append(1))
    assert calls == []


def test_folder_removed_during_intent_commit_is_temporary_failure(tmp_path: Path) -> None:
    transport = MaildirTransport(tmp_path)
    with pytest.raises(TemporaryFailure, match="could not be written"):
        send(transport, before_dot=(tmp_path / "new").rmdir)
    assert files(tmp_path, "tmp") == []


def test_process_killed_before_rename_leaves_new_empty_and_repeat_stores_one_message(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from notify.maildir import MaildirTransport\n"
        "MaildirTransport(Path(sys.argv[1])).transmit('', 'pat@clinic.example', b'x\\r\\n', 'created:1',"
        " lambda: os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert files(tmp_path, "new") == []
    assert len(files(tmp_path, "tmp")) == 1
    send(MaildirTransport(tmp_path))
    assert len(files(tmp_path, "new")) == 1


def test_stale_drafts_are_removed_after_36_hours(tmp_path: Path) -> None:
    transport = MaildirTransport(tmp_path)
    old, young, foreign = (tmp_path / "tmp" / name for name in ("a.casemill.1", "b.casemill.2", "1700000000.other"))
    for file in (old, young, foreign):
        file.write_bytes(b"x")
    for file in (old, foreign):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    MaildirTransport(tmp_path)
    assert files(tmp_path, "tmp") == sorted([young, foreign])
    transport.close()


@pytest.mark.parametrize("recipient", ["", "pat@clinic.example\r\nBcc: x@y.example", "a b@clinic.example"])
def test_malformed_address_is_permanent_failure(tmp_path: Path, recipient: str) -> None:
    with pytest.raises(PermanentFailure):
        MaildirTransport(tmp_path).transmit("", recipient, DATA, "created:1", lambda: None)
    assert files(tmp_path, "new") == files(tmp_path, "tmp") == []
