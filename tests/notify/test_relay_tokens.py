"""Sending with XOAUTH2 to a server that accepts nothing else; a failure makes the relay unavailable and loses no mail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError
from core.oauth.tokens import token_source
from core.settings.sections import OAuth, Smtp
from notify.smtp import SmtpTransport
from notify.smtp_connection import SmtpRelay
from notify.transport import RelayUnavailable
from tests.servers.smtp import SmtpServer
from tests.servers.tls import Certificates
from tests.servers.tokens import CLIENT, SECRET, TokenServer
from tests.servers.web import HttpResponse

DATA = b"Subject: hello\r\nMessage-ID: <d1@care.example>\r\n\r\nA line\r\n"


@pytest.fixture
def tokens(certificates: Certificates) -> Iterator[TokenServer]:
    token_source.cache_clear()
    with TokenServer(certificates, SmtpServer.username) as server:
        yield server


@pytest.fixture
def relay(certificates: Certificates, tokens: TokenServer) -> Iterator[SmtpServer]:
    with SmtpServer(certificates, encryption="starttls", accepts_token=tokens.is_valid) as server:
        yield server


def url_of(relay: SmtpServer, user: str = "casemill@") -> str:
    return f"smtp://{user}localhost:{relay.port}?cafile={relay.ca_file}"


def settings_for(tokens: TokenServer, secret: str = SECRET) -> Smtp:
    return Smtp(auth="xoauth2", oauth=OAuth.model_validate({
        "provider": "microsoft", "tenant": tokens.tenant, "client_id": CLIENT, "client_secret": secret,
        "authority": tokens.url, "ca_file": tokens.ca_file,
    }))  # fmt: skip


def send(relay: SmtpServer, smtp: Smtp) -> str:
    with contextlib.closing(
        SmtpTransport(url_of(relay), smtp, local_hostname="casemill.example", command_timeout=10)
    ) as transport:
        return transport.transmit("bounce@care.example", "pat@clinic.example", DATA, "created:1", lambda: None)


def test_mail_is_sent_with_token_and_next_connection_reuses_it(relay: SmtpServer, tokens: TokenServer) -> None:
    for _ in range(2):
        assert send(relay, settings_for(tokens)).startswith("250")
    assert [one.content for one in relay.messages] == [DATA, DATA]
    assert len(tokens.token_requests) == 1


def test_rejected_token_is_renewed_once_and_mail_is_sent(relay: SmtpServer, tokens: TokenServer) -> None:
    send(relay, settings_for(tokens))
    tokens.revoke_all()
    send(relay, settings_for(tokens))
    assert (len(relay.messages), len(tokens.token_requests)) == (2, 2)


@pytest.mark.parametrize(
    ("life", "secret", "refuse", "reply"),
    [
        (0.0, SECRET, None, "535"),
        (60.0, "wrong-canary", None, "the provider refused a token"),
        (60.0, SECRET, HttpResponse(503), "the provider granted no token just now"),
    ],
)
def test_mail_waits_without_valid_token_and_error_holds_no_secret(
    relay: SmtpServer, tokens: TokenServer, life: float, secret: str, refuse: HttpResponse | None, reply: str
) -> None:
    tokens.lifetime_seconds, tokens.refusal = life, refuse
    with pytest.raises(RelayUnavailable, match=reply) as caught:
        send(relay, settings_for(tokens, secret))
    assert "canary" not in caught.value.reply
    assert relay.transactions == []


def test_relay_without_xoauth2_is_unavailable_with_reason(smtp_starttls_server: SmtpServer, tokens: TokenServer) -> None:
    with pytest.raises(RelayUnavailable, match="does not accept tokens"):
        send(smtp_starttls_server, settings_for(tokens))


def test_tokens_need_user_in_url(relay: SmtpServer, tokens: TokenServer) -> None:
    with pytest.raises(ConfigurationError, match="needs a user"):
        SmtpRelay.parse(url_of(relay, user=""), settings_for(tokens))
