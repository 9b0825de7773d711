"""The SMTP sender's TLS and sign-in."""

import base64

import pytest

from notify.transport import TemporaryFailure
from tests.notify.scripted import ScriptedServer
from tests.notify.sending import DATA, open_sender, send
from tests.servers.smtp import SmtpServer


def test_starttls_and_sign_in_lead_to_delivery(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:correct%20horse@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_sender(url) as sender:
        send(sender)
        send(sender)
    assert (smtp_starttls_server.connections, len(smtp_starttls_server.messages)) == (1, 2)


def test_tls_from_the_first_byte_leads_to_delivery(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@127.0.0.1:{smtp_tls_server.port}?cafile={smtp_tls_server.ca_file}"
    with open_sender(url) as sender:
        send(sender)
        send(sender)
    assert (smtp_tls_server.connections, len(smtp_tls_server.messages)) == (1, 2)


def test_a_certificate_of_an_unknown_authority_is_refused(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@localhost:{smtp_tls_server.port}"
    with open_sender(url) as sender, pytest.raises(TemporaryFailure, match="not trusted"):
        send(sender)


def test_a_certificate_of_another_host_is_refused(smtp_starttls_server: SmtpServer) -> None:
    # 127.1 leads to 127.0.0.1 and is a name the certificate does not hold.
    url = f"smtp://a:b@127.1:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_sender(url) as sender, pytest.raises(TemporaryFailure, match=r"not trusted .*ostname"):
        send(sender)
    assert smtp_starttls_server.transactions == []


def test_a_relay_elsewhere_gets_nothing_in_plain_text_unless_told_so(scripted: ScriptedServer) -> None:
    elsewhere = f"smtp://127.1:{scripted.port}"
    with open_sender(elsewhere) as sender, pytest.raises(TemporaryFailure, match="STARTTLS"):
        send(sender)
    assert scripted.contents == []
    with open_sender(f"{elsewhere}?insecure=1") as sender:
        send(sender)
    assert scripted.contents == [DATA]


def test_a_stripped_starttls_keeps_the_mail_and_the_password_here(smtp_tls_server: SmtpServer) -> None:
    with ScriptedServer("AUTH PLAIN LOGIN") as server:
        url = f"smtp://casemill:hushhush@127.0.0.1:{server.port}?cafile={smtp_tls_server.ca_file}"
        with open_sender(url) as sender, pytest.raises(TemporaryFailure, match="STARTTLS"):
            send(sender)
        assert server.verbs() == ["EHLO"]


def test_a_refused_starttls_keeps_the_mail_here(smtp_tls_server: SmtpServer) -> None:
    with ScriptedServer("STARTTLS", "AUTH PLAIN") as server:
        server.tell("STARTTLS", "454 TLS not available")
        url = f"smtp://casemill:hushhush@127.0.0.1:{server.port}?cafile={smtp_tls_server.ca_file}"
        with open_sender(url) as sender, pytest.raises(TemporaryFailure, match="454"):
            send(sender)
        assert server.verbs() == ["EHLO", "STARTTLS"]


def test_a_refused_sign_in_keeps_the_mail_waiting_and_the_password_secret(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:hushhush@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with open_sender(url) as sender, pytest.raises(TemporaryFailure, match="535") as caught:
        send(sender)
    assert "hushhush" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_password_beyond_ascii_is_sent_in_utf8() -> None:
    with ScriptedServer("AUTH PLAIN") as server:
        with open_sender(f"smtp://m%C3%BCller:gr%C3%BC%C3%9Fe@127.0.0.1:{server.port}") as sender:
            send(sender)
        (command,) = [command for command in server.commands if command.startswith("AUTH")]
    assert base64.b64decode(command.split(" ")[2]).decode() == "\0müller\0grüße"


def test_a_relay_without_sign_in_keeps_the_mail_of_a_sender_who_has_one(scripted: ScriptedServer) -> None:
    with open_sender(f"smtp://a:b@127.0.0.1:{scripted.port}") as sender, pytest.raises(TemporaryFailure, match="AUTH"):
        send(sender)
    assert "MAIL" not in scripted.verbs()


def test_a_relay_with_old_sign_in_only_refuses_a_password_beyond_ascii_gently() -> None:
    with ScriptedServer("AUTH LOGIN") as server:
        server.tell("AUTH", "334 UGFzc3dvcmQ6")
        with (
            open_sender(f"smtp://a:gr%C3%BC%C3%9Fe@127.0.0.1:{server.port}") as sender,
            pytest.raises(TemporaryFailure, match="ASCII passwords"),
        ):
            send(sender)
