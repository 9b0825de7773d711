"""Choosing a transport, and its errors."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from notify.maildir import MaildirTransport
from notify.smtp import SmtpTransport
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure
from notify.transport_factory import open_transport


def test_target_decides_which_transport_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_transport(f"maildir:{tmp_path / 'sent'}"), MaildirTransport)
    assert isinstance(open_transport("smtp://mail.example"), SmtpTransport)
    assert isinstance(open_transport("smtps://mail.example"), SmtpTransport)


@pytest.mark.parametrize("target", ["", "maildir:", "/var/mail", "http://u:hushhush@mail.example", "u:hushhush@mail.example"])
def test_unknown_target_is_refused_with_hint_and_without_password(target: str) -> None:
    with pytest.raises(ConfigurationError, match="maildir:/path") as caught:
        open_transport(target)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize("kind", [TemporaryFailure, PermanentFailure, AmbiguousOutcome])
def test_reply_of_error_is_one_short_printable_line(kind: type[DeliveryError]) -> None:
    error = kind("451 a\r\nb\0\x1b\u2028c " + "é" * 1000)
    assert error.reply.startswith("451 a b c é")
    assert len(error.reply) == 300
    assert error.reply == str(error)
    assert error.reply.isprintable()
