"""The factory and the failures."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from notify.maildir import MaildirSender
from notify.smtp import SmtpSender
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure, sender_for


def test_the_target_decides_which_sender_is_opened(tmp_path: Path) -> None:
    assert isinstance(sender_for(f"maildir:{tmp_path / 'sent'}"), MaildirSender)
    assert isinstance(sender_for("smtp://mail.example"), SmtpSender)
    assert isinstance(sender_for("smtps://mail.example"), SmtpSender)


@pytest.mark.parametrize("target", ["", "maildir:", "/var/mail", "http://u:hushhush@mail.example", "u:hushhush@mail.example"])
def test_a_target_of_another_kind_is_refused_with_the_mend_and_without_its_password(target: str) -> None:
    with pytest.raises(ConfigurationError, match="maildir:/path") as caught:
        sender_for(target)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize("kind", [TemporaryFailure, PermanentFailure, AmbiguousOutcome])
def test_a_reply_is_kept_as_one_short_printable_line(kind: type[DeliveryError]) -> None:
    error = kind("451 a\r\nb\0\x1b\u2028c " + "é" * 1000)
    assert error.reply.startswith("451 a b c é")
    assert len(error.reply) == 300
    assert error.reply == str(error)
    assert error.reply.isprintable()
