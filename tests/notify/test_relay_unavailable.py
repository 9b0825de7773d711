"""An unavailable relay, as distinct from a reply about one message."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

from notify.smtp import SmtpTransport
from notify.transport import PermanentFailure, RelayUnavailable, TemporaryFailure
from tests.notify.scripted_server import ScriptedServer
from tests.servers.ports import free_port
from tests.servers.smtp import Behaviour, SmtpServer

DATA = b"Subject: hello\r\n\r\nA line\r\n"


def send(url: str, before_dot: Callable[[], None] = lambda: None) -> str:
    with contextlib.closing(SmtpTransport(url, local_hostname="casemill.example", connect_timeout=1)) as transport:
        return transport.transmit("bounce@casemill.example", "pat@clinic.example", DATA, "created:1", before_dot)


def never() -> None:
    raise AssertionError("nothing may be intended while the relay is away")


def test_closed_port_is_relay_unavailable() -> None:
    with pytest.raises(RelayUnavailable, match="no connection"):
        send(f"smtp://127.0.0.1:{free_port()}", never)


def test_unknown_host_is_relay_unavailable() -> None:
    with pytest.raises(RelayUnavailable, match="no connection"):
        send("smtp://relay.invalid?insecure=1", never)


def test_relay_without_greeting_is_relay_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(RelayUnavailable):
        send(f"smtp://127.0.0.1:{listener.getsockname()[1]}", never)


@pytest.mark.parametrize("greeting", ["421 4.3.2 busy", "554 5.3.2 no service", "nonsense"])
def test_refusing_greeting_is_relay_unavailable(greeting: str) -> None:
    with ScriptedServer(greeting=greeting) as server, pytest.raises(RelayUnavailable):
        send(server.url, never)


def test_connection_closed_at_once_is_relay_unavailable(smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(drop="connect"))
    with pytest.raises(RelayUnavailable):
        send(f"smtp://127.0.0.1:{smtp_server.port}", never)


def test_missing_starttls_is_relay_unavailable(scripted_server: ScriptedServer) -> None:
    with pytest.raises(RelayUnavailable, match="STARTTLS"):
        send(f"smtp://127.1:{scripted_server.port}", never)


def test_untrusted_certificate_is_relay_unavailable(smtp_tls_server: SmtpServer) -> None:
    with pytest.raises(RelayUnavailable, match="not trusted"):
        send(f"smtps://a:b@localhost:{smtp_tls_server.port}", never)


def test_refused_sign_in_is_relay_unavailable_without_password(smtp_starttls_server: SmtpServer) -> None:
    url = f"smtp://casemill:hushhush@localhost:{smtp_starttls_server.port}?cafile={smtp_starttls_server.ca_file}"
    with pytest.raises(RelayUnavailable, match="535") as caught:
        send(url, never)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize("reply", ["535 5.7.8 wrong", "454 4.7.0 try later", None])
def test_failing_sign_in_is_relay_unavailable(reply: str | None) -> None:
    with ScriptedServer("AUTH PLAIN") as server:
        server.script("AUTH", reply)
        with pytest.raises(RelayUnavailable):
            send(f"smtp://a:b@127.0.0.1:{server.port}", never)


def test_dead_connection_to_stopped_relay_is_relay_unavailable(smtp_server: SmtpServer) -> None:
    with contextlib.closing(SmtpTransport(f"smtp://127.0.0.1:{smtp_server.port}")) as transport:
        arguments = ("bounce@casemill.example", "pat@clinic.example", DATA, "created:1")
        transport.transmit(*arguments, lambda: None)
        smtp_server.stop()
        with pytest.raises(RelayUnavailable):
            transport.transmit(*arguments, never)
        smtp_server.start()
        assert transport.transmit(*arguments, lambda: None).startswith("250")


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize(("reply", "failure"), [("451 later", TemporaryFailure), ("550 no", PermanentFailure)])
def test_reply_about_one_message_is_not_relay_unavailable(
    scripted_server: ScriptedServer, verb: str, reply: str, failure: type[Exception]
) -> None:
    scripted_server.script(verb, reply)
    with pytest.raises(failure) as caught:
        send(scripted_server.url)
    assert not isinstance(caught.value, RelayUnavailable)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_connection_lost_during_message_is_temporary_failure_of_that_message(scripted_server: ScriptedServer, verb: str) -> None:
    scripted_server.script(verb, None)
    with pytest.raises(TemporaryFailure) as caught:
        send(scripted_server.url, never)
    assert not isinstance(caught.value, RelayUnavailable)
