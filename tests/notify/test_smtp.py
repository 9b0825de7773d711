"""The SMTP sender against real servers: an aiosmtpd that misbehaves, and a scripted one for exact sequences."""

import base64
import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.senders import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure, sender_for
from notify.smtp import SmtpSender
from tests.notify.scripted import ScriptedServer
from tests.servers.ports import free_port
from tests.servers.smtp import Behaviour, SmtpServer

SENDER, RECIPIENT = "bounce+d1.mac@care.example", "pat@clinic.example"
DATA = b"Subject: hello\r\nMessage-ID: <d1@care.example>\r\n\r\nA line\r\n.\r\n..two\r\n.three\r\nend\r\n"
FEATURES = ("PIPELINING", "8BITMIME", "SIZE 1000000")


class Intent:
    """A before_dot that counts its calls and may do something in that moment."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self._then = then

    def __call__(self) -> None:
        self.calls += 1
        self._then()


def open_sender(url: str, **options: float) -> contextlib.closing[SmtpSender]:
    return contextlib.closing(SmtpSender(url, local_hostname="casemill.example", **options))  # type: ignore[arg-type]


def send(sender: SmtpSender, intent: Intent | None = None, data: bytes = DATA, recipient: str = RECIPIENT) -> str:
    return sender.transmit(SENDER, recipient, data, "created:1", intent or Intent())


def url_of(server: SmtpServer, **options: str) -> str:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    return f"smtp://localhost:{server.port}?{query}"


@pytest.fixture
def sender(smtp_server: SmtpServer) -> Iterator[SmtpSender]:
    with open_sender(url_of(smtp_server), command_timeout=5, final_timeout=5) as opened:
        yield opened


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer(*FEATURES) as server:
        yield server


# What arrives


def test_a_message_arrives_as_it_was_frozen_under_its_envelope(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    assert send(sender).startswith("250 ")
    (message,) = smtp_server.messages
    assert message.content == DATA
    assert (message.mail_from, message.recipients) == (SENDER, (RECIPIENT,))


def test_the_intent_is_kept_before_the_relay_has_the_message(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    seen: list[int] = []
    intent = Intent(lambda: seen.append(len(smtp_server.transactions)))
    send(sender, intent)
    assert (seen, intent.calls, len(smtp_server.transactions)) == ([0], 1, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(alphabet=".a \t", max_size=6), max_size=8))
def test_any_dots_at_the_start_of_lines_arrive_as_they_were(scripted: ScriptedServer, lines: list[str]) -> None:
    data = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
    with open_sender(scripted.url) as sender:
        send(sender, data=data)
    assert scripted.contents[-1] == data


@pytest.mark.parametrize("data", [b"Subject: x\n\ny\n", b"Subject: x\r\n\r\ny\n.\r\n", b"a\r\nb\rc\r\n", b"a\r\nno end", b""])
def test_a_bare_line_end_is_never_sent(scripted: ScriptedServer, data: bytes) -> None:
    with open_sender(scripted.url) as sender, pytest.raises(PermanentFailure, match="CRLF"):
        send(sender, data=data)
    assert scripted.connections == 0


def test_everything_on_the_wire_ends_in_crlf(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        send(sender)
    wire = b"".join(scripted.chunks)
    assert wire.count(b"\n") == wire.count(b"\r\n") == wire.count(b"\r")


# Refusals


@pytest.mark.parametrize("step", ["mail", "rcpt", "dot"])
@pytest.mark.parametrize(("reply", "failure"), [
    ("451 4.3.0 Try later", TemporaryFailure), ("452 4.2.2 Full", TemporaryFailure),
    ("550 5.1.1 Nobody here", PermanentFailure), ("554 5.7.1 No", PermanentFailure),
])
def test_4xx_is_temporary_and_5xx_permanent_at_every_step(
    smtp_server: SmtpServer, sender: SmtpSender, step: str, reply: str, failure: type[DeliveryError]
) -> None:
    behaviours = {"mail": Behaviour(mail=reply), "rcpt": Behaviour(rcpt=reply), "dot": Behaviour(dot=reply)}
    smtp_server.behave(behaviours[step], times=1)
    intent = Intent()
    with pytest.raises(failure) as caught:
        send(sender, intent)
    assert caught.value.reply == reply
    assert intent.calls == (1 if step == "dot" else 0)
    assert smtp_server.messages == []


@pytest.mark.parametrize("features", [FEATURES, ("8BITMIME",)])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_after_a_refusal_the_next_message_goes_over_the_same_connection(verb: str, features: tuple[str, ...]) -> None:
    with ScriptedServer(*features) as server, open_sender(server.url) as sender:
        server.tell(verb, "550 no")
        if verb != "DATA" and "PIPELINING" in features:
            server.tell("DATA", "503 no recipients")
        with pytest.raises(PermanentFailure, match="550 no"):
            send(sender)
        send(sender)
        assert server.connections == 1
        assert server.verbs().count("RSET") == 1
        assert server.contents == [DATA]


def test_a_sign_in_wanted_at_mail_is_about_the_relay_and_not_about_the_message(scripted: ScriptedServer) -> None:
    scripted.tell("MAIL", "530 5.7.0 Authentication required")
    scripted.tell("RCPT", "503 first MAIL")
    scripted.tell("DATA", "503 first MAIL")
    with open_sender(scripted.url) as sender, pytest.raises(TemporaryFailure, match="530"):
        send(sender)


def test_a_long_reply_of_many_lines_becomes_one_short_printable_line(scripted: ScriptedServer) -> None:
    scripted.tell(".", "550-first\r\n550-\x1b[31msecond\r\n550 " + "x" * 400)
    with open_sender(scripted.url) as sender, pytest.raises(PermanentFailure) as caught:
        send(sender)
    assert caught.value.reply.startswith("550 first [31msecond xxx")
    assert len(caught.value.reply) == 300
    assert caught.value.reply.isprintable()


# Connections that end


@pytest.mark.parametrize("drop", ["connect", "mail", "rcpt", "data"])
def test_a_connection_lost_before_the_final_dot_is_a_temporary_failure(
    smtp_server: SmtpServer, sender: SmtpSender, drop: str
) -> None:
    smtp_server.behave(Behaviour(drop=drop))  # type: ignore[arg-type]
    # The last drop races with our writing; waiting for its end in the intent makes it certain to be before the dot.
    with pytest.raises(TemporaryFailure):
        send(sender, Intent(smtp_server.drop_connections))
    smtp_server.behave(Behaviour())
    send(sender)
    assert len(smtp_server.messages) == 1


@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"])
def test_a_connection_lost_after_the_final_dot_is_ambiguous(smtp_server: SmtpServer, sender: SmtpSender, drop: str) -> None:
    smtp_server.behave(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
    intent = Intent()
    with pytest.raises(AmbiguousOutcome):
        send(sender, intent)
    assert (intent.calls, len(smtp_server.transactions)) == (1, 1)
    send(sender)
    assert smtp_server.connections == 2


def test_a_kept_connection_lost_after_the_final_dot_is_ambiguous_and_not_tried_again(
    smtp_server: SmtpServer, sender: SmtpSender
) -> None:
    send(sender)
    smtp_server.behave(Behaviour(drop="dot_stored"), times=1)
    with pytest.raises(AmbiguousOutcome):
        send(sender)
    assert len(smtp_server.messages) == 2


def test_a_relay_that_hangs_up_while_the_intent_is_committed_has_delivered_nothing(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        with pytest.raises(TemporaryFailure):
            send(sender, Intent(scripted.hang_up))
        send(sender)
    assert scripted.contents == [DATA]


def test_a_tls_relay_that_hangs_up_while_the_intent_is_committed_has_delivered_nothing(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@localhost:{smtp_tls_server.port}?cafile={smtp_tls_server.ca_file}"
    with open_sender(url) as sender:
        with pytest.raises(TemporaryFailure):
            send(sender, Intent(smtp_tls_server.drop_connections))
        send(sender)
    assert len(smtp_tls_server.messages) == 1


def test_an_answer_that_comes_before_the_final_dot_is_no_answer_to_it(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        with pytest.raises(TemporaryFailure, match="552 too much"):
            send(sender, Intent(lambda: scripted.say("552 too much")))
        assert scripted.contents == []
        scripted.tell("DATA", "354 go\r\n250 queued already", "354 go\r\n250 queued already")
        intent = Intent()
        with pytest.raises(TemporaryFailure, match="before the final dot"):
            send(sender, intent)
    assert intent.calls == 0
    assert scripted.contents == []


def test_421_after_the_final_dot_is_temporary_and_ends_the_connection(scripted: ScriptedServer) -> None:
    scripted.tell(".", "421 4.3.2 shutting down")
    with open_sender(scripted.url) as sender:
        with pytest.raises(TemporaryFailure, match="421"):
            send(sender)
        send(sender)
    assert scripted.connections == 2


@pytest.mark.parametrize("reply", ["354 still waiting", "gibberish", "199 odd", "250" + "x" * 9000])
def test_a_reply_to_the_final_dot_that_means_nothing_is_ambiguous(scripted: ScriptedServer, reply: str) -> None:
    scripted.tell(".", reply)
    with open_sender(scripted.url) as sender:
        with pytest.raises(AmbiguousOutcome):
            send(sender)
        send(sender)
    assert scripted.connections == 2


def test_a_slow_answer_within_the_time_out_counts(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    smtp_server.behave(Behaviour(dot_delay=0.5), times=1)
    assert send(sender).startswith("250")


def test_an_answer_later_than_the_time_out_is_ambiguous(smtp_server: SmtpServer) -> None:
    smtp_server.behave(Behaviour(dot_delay=1.5), times=1)
    with open_sender(url_of(smtp_server), final_timeout=0.2) as sender, pytest.raises(AmbiguousOutcome):
        send(sender)


def test_nobody_listening_is_a_temporary_failure() -> None:
    with open_sender(f"smtp://127.0.0.1:{free_port()}") as sender, pytest.raises(TemporaryFailure, match="no connection"):
        send(sender)


@pytest.mark.parametrize("greeting", ["554 5.3.2 go away", "421 busy", "nonsense"])
def test_a_relay_that_does_not_greet_us_keeps_the_mail_waiting(greeting: str) -> None:
    with ScriptedServer(greeting=greeting) as server, open_sender(server.url) as sender, pytest.raises(TemporaryFailure):
        send(sender)


def test_an_exception_while_the_intent_is_committed_passes_on_and_nothing_is_delivered(
    smtp_server: SmtpServer, sender: SmtpSender
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(sender, Intent(fail))
    send(sender)
    assert len(smtp_server.transactions) == 1
    assert smtp_server.connections == 2


# The kept connection


def test_many_messages_share_one_connection(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    for _ in range(5):
        send(sender)
    assert (smtp_server.connections, len(smtp_server.messages)) == (1, 5)


def test_a_kept_connection_closed_by_the_relay_is_replaced_at_once(smtp_server: SmtpServer, sender: SmtpSender) -> None:
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


def test_a_closed_sender_can_be_used_again(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    send(sender)
    sender.close()
    sender.close()
    send(sender)
    assert len(smtp_server.messages) == 2


# Pipelining


def test_the_envelope_goes_in_one_packet_where_the_relay_takes_it(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        send(sender)
    envelope = b"MAIL FROM:<%b> SIZE=%d\r\nRCPT TO:<%b>\r\nDATA\r\n" % (
        SENDER.encode(), len(DATA) + 3, RECIPIENT.encode())
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


# TLS and sign-in


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
        with open_sender(f"smtp://a:gr%C3%BC%C3%9Fe@127.0.0.1:{server.port}") as sender, pytest.raises(
            TemporaryFailure, match="ASCII passwords"
        ):
            send(sender)


# Addresses


def test_a_domain_beyond_ascii_goes_out_in_its_ascii_form(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    send(sender, recipient="pat@münchen.example")
    assert smtp_server.messages[0].recipients == ("pat@xn--mnchen-3ya.example",)


def test_a_local_part_beyond_ascii_needs_a_relay_that_takes_it(smtp_server: SmtpServer, sender: SmtpSender) -> None:
    send(sender, recipient="müller@clinic.example")
    assert smtp_server.messages[0].recipients == ("müller@clinic.example",)
    with ScriptedServer(*FEATURES) as server, open_sender(server.url) as plain:
        with pytest.raises(PermanentFailure, match="6531"):
            send(plain, recipient="müller@clinic.example")
        send(plain)
        assert server.connections == 1


@pytest.mark.parametrize("address", ["", "pat", "@clinic.example", "pat@", "a b@clinic.example", "pat@clinic.example>\r\nRSET",
                                     "<pat@clinic.example>", "a@b@clinic.example", '"p"@clinic.example', "pat@\ud800.example",
                                     "x" * 65 + "@clinic.example", "pat@" + "y" * 256])
def test_an_address_that_is_not_one_plain_mailbox_is_a_permanent_failure(scripted: ScriptedServer, address: str) -> None:
    with open_sender(scripted.url) as sender, pytest.raises(PermanentFailure):
        send(sender, recipient=address)
    assert scripted.connections == 0


def test_an_empty_envelope_sender_is_the_null_sender(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        sender.transmit("", RECIPIENT, DATA, "created:1", Intent())
    assert f"MAIL FROM:<> SIZE={len(DATA) + 3}" in scripted.commands


def test_the_factory_opens_an_smtp_sender(smtp_server: SmtpServer) -> None:
    sender = sender_for(url_of(smtp_server), local_hostname="casemill.example")
    assert sender.transmit(SENDER, RECIPIENT, DATA, "created:1", Intent()).startswith("250")
    sender.close()
