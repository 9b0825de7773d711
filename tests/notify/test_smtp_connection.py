"""Parsing the relay's URL."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from notify.smtp_connection import SmtpRelay


@pytest.mark.parametrize(
    ("url", "port", "implicit_tls", "starttls"),
    [
        ("smtp://mail.example", 25, False, True),
        ("smtp://u:p@mail.example", 587, False, True),
        ("smtp://mail.example:2525/", 2525, False, True),
        ("smtps://mail.example", 465, True, False),
        ("smtp://localhost", 25, False, False),
        ("smtp://127.0.0.1:1025", 1025, False, False),
        ("smtp://[::1]:1025", 1025, False, False),
        ("smtp://mail.example?insecure=1", 25, False, False),
        ("smtp://mail.example?insecure=0", 25, False, True),
    ],
)
def test_url_gives_host_port_and_encryption(url: str, port: int, implicit_tls: bool, starttls: bool) -> None:
    relay = SmtpRelay.parse(url)
    assert (relay.port, relay.implicit_tls, relay.starttls) == (port, implicit_tls, starttls)


def test_user_and_password_are_percent_decoded() -> None:
    relay = SmtpRelay.parse("smtp://care%40mail.example:p%3Aw%2F%20x@mail.example")
    assert (relay.user, relay.password) == ("care@mail.example", "p:w/ x")


def test_cafile_requires_tls_even_on_loopback(tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    cafile.write_text("x")
    assert SmtpRelay.parse(f"smtp://localhost?cafile={cafile}").starttls


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "smtp://u:hushhush@",
        "smtp://u:hushhush@mail.example:none",
        "smtp://u:hushhush@mail.example:99999",
        "smtp://u:hushhush@mail.example/folder",
        "smtp://u:hushhush@mail.example?insecure=yes",
        "smtp://u:hushhush@[::1",
        "smtp://u:hushhush@mail.example?tls=off",
        "smtps://u:hushhush@mail.example?insecure=1",
        "smtp://u:hushhush@mail.example?cafile=/nowhere/ca.pem",
        "http://u:hushhush@mail.example",
    ],
)
def test_invalid_url_is_refused_without_showing_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SmtpRelay.parse(url)
    assert caught.value.key == "smtp_url"
    assert caught.value.hint
    assert "hushhush" not in str(caught.value)


def test_relay_repr_hides_password() -> None:
    assert "hushhush" not in repr(SmtpRelay.parse("smtp://u:hushhush@mail.example"))
