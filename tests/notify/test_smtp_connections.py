"""The SMTP sender's kept connection, and commands that go together."""

import pytest

from notify.smtp import SmtpTransport
from notify.transport import PermanentFailure, TemporaryFailure
from tests.notify.scripted import ScriptedServer
from tests.notify.sending import DATA, RECIPIENT, SENDER, Intent, open_sender, send
from tests.servers.smtp import SmtpServer


def test_many_messages_share_one_connection(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    for _ in range(5):
        send(sender)
    assert (smtp_server.connections, len(smtp_server.messages)) == (1, 5)


def test_a_kept_connection_closed_by_the_relay_is_replaced_at_once(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    send(sender)
    smtp_server.drop_connections()
    intent = Intent()
    send(sender, intent)
    assert intent.calls == 1
    assert (smtp_server.connections, len(smtp_server.messages)) == (2, 2)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["421 4.4.2 idle too long", None])
def test_a_kept_connection_that_ends_in_the_envelope_is_replaced_at_once(
    scripted: ScriptedServer, verb: str, reply: str | None
) -> None:
    with open_sender(scripted.url) as sender:
        send(sender)
        scripted.tell(verb, reply)
        send(sender)
    assert scripted.contents == [DATA, DATA]
    assert scripted.connections == 2


def test_a_relay_that_ended_an_idle_connection_with_words_is_met_again(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        send(sender)
        scripted.say("421 4.4.2 timeout exceeded")
        scripted.hang_up()
        send(sender)
    assert scripted.contents == [DATA, DATA]


def test_a_fresh_connection_that_dies_is_not_replaced_again(scripted: ScriptedServer) -> None:
    scripted.tell("MAIL", None, None)
    with open_sender(scripted.url) as sender, pytest.raises(TemporaryFailure):
        send(sender)
    assert scripted.connections == 1


def test_a_relay_that_cannot_reset_is_met_again_on_a_new_connection(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        scripted.tell("RCPT", "550 no")
        scripted.tell("DATA", "503 no recipients")
        with pytest.raises(PermanentFailure):
            send(sender)
        scripted.tell("RSET", "502 what is that")
        send(sender)
    assert scripted.contents == [DATA]
    assert scripted.connections == 2


def test_a_connection_is_renewed_after_its_share_of_messages(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url, max_messages=2) as sender:
        for _ in range(5):
            send(sender)
    assert scripted.connections == 3
    assert scripted.verbs().count("QUIT") == 3


def test_a_closed_sender_can_be_used_again(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    send(sender)
    sender.close()
    sender.close()
    send(sender)
    assert len(smtp_server.messages) == 2


def test_the_envelope_goes_in_one_packet_where_the_relay_takes_it(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        send(sender)
    envelope = b"MAIL FROM:<%b> SIZE=%d\r\nRCPT TO:<%b>\r\nDATA\r\n" % (SENDER.encode(), len(DATA) + 3, RECIPIENT.encode())
    assert envelope in scripted.chunks


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_a_relay_that_wants_content_for_nobody_gets_none(scripted: ScriptedServer, verb: str) -> None:
    scripted.tell(verb, "450 greylisted")
    with open_sender(scripted.url) as sender:
        with pytest.raises(TemporaryFailure, match="450"):
            send(sender)
        assert scripted.contents == []
        send(sender)
    assert scripted.contents == [DATA]
    assert scripted.connections == 2


def test_a_refusal_stands_when_the_relay_hangs_up_after_it(scripted: ScriptedServer) -> None:
    scripted.tell("RCPT", "550 5.1.1 nobody")
    scripted.tell("DATA", None)
    with open_sender(scripted.url) as sender, pytest.raises(PermanentFailure, match="nobody"):
        send(sender)
