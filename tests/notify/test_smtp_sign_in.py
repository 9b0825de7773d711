"""TLS and sign-in of the SMTP transport."""

import base64

import pytest

from notify.transport import TemporaryFailure
from tests.notify.scripted_server import ScriptedServer
from tests.notify.smtp_support import DATA, open_smtp, send
from tests.servers.smtp import SmtpServer


def test_mail_is_delivered_with_starttls_and_sign_in(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:correct%20horse@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_smtp(url) as transport:
        send(transport)
        send(transport)
    assert (smtp_starttls_server.connections, len(smtp_starttls_server.messages)) == (1, 2)


def test_mail_is_delivered_with_implicit_tls(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@127.0.0.1:{smtp_tls_server.port}?cafile={smtp_tls_server.ca_file}"
    with open_smtp(url) as transport:
        send(transport)
        send(transport)
    assert (smtp_tls_server.connections, len(smtp_tls_server.messages)) == (1, 2)


def test_certificate_of_unknown_authority_is_refused(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@localhost:{smtp_tls_server.port}"
    with open_smtp(url) as transport, pytest.raises(TemporaryFailure, match="not trusted"):
        send(transport)


def test_certificate_of_other_host_is_refused(smtp_starttls_server: SmtpServer) -> None:
    # 127.1 resolves to 127.0.0.1, and the certificate does not contain this name.
    url = f"smtp://a:b@127.1:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_smtp(url) as transport, pytest.raises(TemporaryFailure, match=r"not trusted .*ostname"):
        send(transport)
    assert smtp_starttls_server.transactions == []


def test_remote_relay_gets_no_plain_text_without_insecure_option(scripted_server: ScriptedServer) -> None:
    elsewhere = f"smtp://127.1:{scripted_server.port}"
    with open_smtp(elsewhere) as transport, pytest.raises(TemporaryFailure, match="STARTTLS"):
        send(transport)
    assert scripted_server.contents == []
    with open_smtp(f"{elsewhere}?insecure=1") as transport:
        send(transport)
    assert scripted_server.contents == [DATA]


def test_stripped_starttls_sends_neither_mail_nor_password(smtp_tls_server: SmtpServer) -> None:
    with ScriptedServer("AUTH PLAIN LOGIN") as server:
        url = f"smtp://casemill:hushhush@127.0.0.1:{server.port}?cafile={smtp_tls_server.ca_file}"
        with open_smtp(url) as transport, pytest.raises(TemporaryFailure, match="STARTTLS"):
            send(transport)
        assert server.verbs() == ["EHLO"]


def test_refused_starttls_sends_no_mail(smtp_tls_server: SmtpServer) -> None:
    with ScriptedServer("STARTTLS", "AUTH PLAIN") as server:
        server.script("STARTTLS", "454 TLS not available")
        url = f"smtp://casemill:hushhush@127.0.0.1:{server.port}?cafile={smtp_tls_server.ca_file}"
        with open_smtp(url) as transport, pytest.raises(TemporaryFailure, match="454"):
            send(transport)
        assert server.verbs() == ["EHLO", "STARTTLS"]


def test_refused_sign_in_keeps_mail_waiting_and_hides_password(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:hushhush@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_smtp(url) as transport, pytest.raises(TemporaryFailure, match="535") as caught:
        send(transport)
    assert "hushhush" not in f"{caught.value} {caught.value.__cause__!r}"


def test_non_ascii_password_is_sent_in_utf8() -> None:
    with ScriptedServer("AUTH PLAIN") as server:
        with open_smtp(f"smtp://m%C3%BCller:gr%C3%BC%C3%9Fe@127.0.0.1:{server.port}") as transport:
            send(transport)
        (command,) = [command for command in server.commands if command.startswith("AUTH")]
    assert base64.b64decode(command.split(" ")[2]).decode() == "\0müller\0grüße"


def test_relay_without_auth_keeps_mail_waiting_when_user_is_configured(scripted_server: ScriptedServer) -> None:
    with open_smtp(f"smtp://a:b@127.0.0.1:{scripted_server.port}") as transport, pytest.raises(TemporaryFailure, match="AUTH"):
        send(transport)
    assert "MAIL" not in scripted_server.verbs()


def test_relay_with_login_only_keeps_mail_waiting_for_non_ascii_password() -> None:
    with ScriptedServer("AUTH LOGIN") as server:
        server.script("AUTH", "334 UGFzc3dvcmQ6")
        with (
            open_smtp(f"smtp://a:gr%C3%BC%C3%9Fe@127.0.0.1:{server.port}") as transport,
            pytest.raises(TemporaryFailure, match="ASCII passwords"),
        ):
            send(transport)
