"""Reuse of the SMTP transport's connection, and pipelined commands."""

import pytest

from notify.smtp import SmtpTransport
from notify.transport import PermanentFailure, TemporaryFailure
from tests.notify.scripted_server import ScriptedServer
from tests.notify.smtp_support import DATA, RECIPIENT, SENDER, Intent, open_smtp, send
from tests.servers.smtp import SmtpServer


def test_many_messages_share_one_connection(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    for _ in range(5):
        send(transport)
    assert (smtp_server.connections, len(smtp_server.messages)) == (1, 5)


def test_reused_connection_closed_by_relay_is_replaced_at_once(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    send(transport)
    smtp_server.drop_connections()
    intent = Intent()
    send(transport, intent)
    assert intent.calls == 1
    assert (smtp_server.connections, len(smtp_server.messages)) == (2, 2)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["421 4.4.2 idle too long", None])
def test_reused_connection_lost_in_envelope_is_replaced_at_once(
    scripted_server: ScriptedServer, verb: str, reply: str | None
) -> None:
    with open_smtp(scripted_server.url) as transport:
        send(transport)
        scripted_server.script(verb, reply)
        send(transport)
    assert scripted_server.contents == [DATA, DATA]
    assert scripted_server.connections == 2


def test_idle_connection_ended_with_421_is_replaced(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        send(transport)
        scripted_server.send_line("421 4.4.2 timeout exceeded")
        scripted_server.hang_up()
        send(transport)
    assert scripted_server.contents == [DATA, DATA]


def test_new_connection_that_dies_is_not_replaced(scripted_server: ScriptedServer) -> None:
    scripted_server.script("MAIL", None, None)
    with open_smtp(scripted_server.url) as transport, pytest.raises(TemporaryFailure):
        send(transport)
    assert scripted_server.connections == 1


def test_failing_rset_opens_new_connection(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        scripted_server.script("RCPT", "550 no")
        scripted_server.script("DATA", "503 no recipients")
        with pytest.raises(PermanentFailure):
            send(transport)
        scripted_server.script("RSET", "502 what is that")
        send(transport)
    assert scripted_server.contents == [DATA]
    assert scripted_server.connections == 2


def test_connection_is_replaced_after_max_messages(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url, max_messages=2) as transport:
        for _ in range(5):
            send(transport)
    assert scripted_server.connections == 3
    assert scripted_server.verbs().count("QUIT") == 3


def test_closed_transport_can_be_used_again(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    send(transport)
    transport.close()
    transport.close()
    send(transport)
    assert len(smtp_server.messages) == 2


def test_pipelined_envelope_is_sent_in_one_packet(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        send(transport)
    envelope = b"MAIL FROM:<%b> SIZE=%d\r\nRCPT TO:<%b>\r\nDATA\r\n" % (SENDER.encode(), len(DATA) + 3, RECIPIENT.encode())
    assert envelope in scripted_server.chunks


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_354_after_refused_recipient_gets_no_content(scripted_server: ScriptedServer, verb: str) -> None:
    scripted_server.script(verb, "450 greylisted")
    with open_smtp(scripted_server.url) as transport:
        with pytest.raises(TemporaryFailure, match="450"):
            send(transport)
        assert scripted_server.contents == []
        send(transport)
    assert scripted_server.contents == [DATA]
    assert scripted_server.connections == 2


def test_refusal_counts_when_relay_closes_afterwards(scripted_server: ScriptedServer) -> None:
    scripted_server.script("RCPT", "550 5.1.1 nobody")
    scripted_server.script("DATA", None)
    with open_smtp(scripted_server.url) as transport, pytest.raises(PermanentFailure, match="nobody"):
        send(transport)
