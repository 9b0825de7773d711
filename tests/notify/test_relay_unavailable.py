"""The way out itself is closed: told apart from what a relay says about one message."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

from notify.smtp import SmtpTransport
from notify.transport import PermanentFailure, RelayUnavailable, TemporaryFailure
from tests.notify.scripted import ScriptedServer
from tests.servers.ports import free_port
from tests.servers.smtp import Behaviour, SmtpServer

DATA = b"Subject: hello\r\n\r\nA line\r\n"


def send(url: str, before_dot: Callable[[], None] = lambda: None) -> str:
    with contextlib.closing(SmtpTransport(url, local_hostname="casemill.example", connect_timeout=1)) as sender:
        return sender.transmit("bounce@casemill.example", "pat@clinic.example", DATA, "created:1", before_dot)


def never() -> None:
    raise AssertionError("nothing may be intended while the relay is away")


def test_nobody_listening() -> None:
    with pytest.raises(RelayUnavailable, match="no connection"):
        send(f"smtp://127.0.0.1:{free_port()}", never)


def test_a_name_that_leads_nowhere() -> None:
    with pytest.raises(RelayUnavailable, match="no connection"):
        send("smtp://relay.invalid?insecure=1", never)


def test_a_relay_that_takes_the_connection_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(RelayUnavailable):
        send(f"smtp://127.0.0.1:{listener.getsockname()[1]}", never)


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 5.3.2 no service", "nonsense"])
def test_a_relay_that_does_not_greet_us(greeting: str) -> None:
    with ScriptedServer(greeting=greeting) as server, pytest.raises(RelayUnavailable):
        send(server.url, never)


def test_a_relay_that_hangs_up_at_once(smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(drop="connect"))
    with pytest.raises(RelayUnavailable):
        send(f"smtp://127.0.0.1:{smtp_server.port}", never)


def test_a_relay_without_the_encryption_it_should_have(scripted: ScriptedServer) -> None:
    with pytest.raises(RelayUnavailable, match="STARTTLS"):
        send(f"smtp://127.1:{scripted.port}", never)


def test_a_relay_whose_certificate_is_not_trusted(smtp_tls_server: SmtpServer) -> None:
    with pytest.raises(RelayUnavailable, match="not trusted"):
        send(f"smtps://a:b@localhost:{smtp_tls_server.port}", never)


def test_a_relay_that_refuses_the_sign_in(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:hushhush@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with pytest.raises(RelayUnavailable, match="535") as caught:
        send(url, never)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize("reply", ["535 5.7.8 wrong", "454 4.7.0 try later", None])
def test_a_relay_whose_sign_in_does_not_work(reply: str | None) -> None:
    with ScriptedServer("AUTH PLAIN") as server:
        server.tell("AUTH", reply)
        with pytest.raises(RelayUnavailable):
            send(f"smtp://a:b@127.0.0.1:{server.port}", never)


def test_a_kept_connection_that_died_and_a_relay_that_is_gone(smtp_server: SmtpServer) -> None:
    with contextlib.closing(SmtpTransport(f"smtp://127.0.0.1:{smtp_server.port}")) as sender:
        arguments = ("bounce@casemill.example", "pat@clinic.example", DATA, "created:1")
        sender.transmit(*arguments, lambda: None)
        smtp_server.stop()
        with pytest.raises(RelayUnavailable):
            sender.transmit(*arguments, never)
        smtp_server.start()
        assert sender.transmit(*arguments, lambda: None).startswith("250")


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(("reply", "failure"), [("451 later", TemporaryFailure), ("550 no", PermanentFailure)])
def test_what_a_relay_says_of_one_message_is_no_closed_way(
    scripted: ScriptedServer, verb: str, reply: str, failure: type[Exception]
) -> None:
    scripted.tell(verb, reply)
    with pytest.raises(failure) as caught:
        send(scripted.url)
    assert not isinstance(caught.value, RelayUnavailable)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_a_connection_that_ends_over_one_message_counts_against_that_message(scripted: ScriptedServer, verb: str) -> None:
    scripted.tell(verb, None)
    with pytest.raises(TemporaryFailure) as caught:
        send(scripted.url, never)
    assert not isinstance(caught.value, RelayUnavailable)
