"""The SMTP sender against real servers: an aiosmtpd that misbehaves, and a scripted one for exact sequences."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.smtp import SmtpTransport
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure
from notify.transport_factory import open_transport
from tests.notify.scripted import ScriptedServer
from tests.notify.sending import DATA, FEATURES, RECIPIENT, SENDER, Intent, open_sender, send, url_of
from tests.servers.ports import free_port
from tests.servers.smtp import Behaviour, SmtpServer

# What arrives


def test_a_message_arrives_as_it_was_frozen_under_its_envelope(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    assert send(sender).startswith("250 ")
    (message,) = smtp_server.messages
    assert message.content == DATA
    assert (message.mail_from, message.recipients) == (SENDER, (RECIPIENT,))


def test_the_intent_is_kept_before_the_relay_has_the_message(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
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
@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("451 4.3.0 Try later", TemporaryFailure),
        ("452 4.2.2 Full", TemporaryFailure),
        ("550 5.1.1 Nobody here", PermanentFailure),
        ("554 5.7.1 No", PermanentFailure),
    ],
)
def test_4xx_is_temporary_and_5xx_permanent_at_every_step(
    smtp_server: SmtpServer, sender: SmtpTransport, step: str, reply: str, failure: type[DeliveryError]
) -> None:
    behaviours = {"mail": Behaviour(mail=reply), "rcpt": Behaviour(rcpt=reply), "dot": Behaviour(dot=reply)}
    smtp_server.set_behaviour(behaviours[step], times=1)
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
    smtp_server: SmtpServer, sender: SmtpTransport, drop: str
) -> None:
    smtp_server.set_behaviour(Behaviour(drop=drop))  # type: ignore[arg-type]
    # The last drop races with our writing; waiting for its end in the intent makes it certain to be before the dot.
    with pytest.raises(TemporaryFailure):
        send(sender, Intent(smtp_server.drop_connections))
    smtp_server.set_behaviour(Behaviour())
    send(sender)
    assert len(smtp_server.messages) == 1


@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"])
def test_a_connection_lost_after_the_final_dot_is_ambiguous(smtp_server: SmtpServer, sender: SmtpTransport, drop: str) -> None:
    smtp_server.set_behaviour(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
    intent = Intent()
    with pytest.raises(AmbiguousOutcome):
        send(sender, intent)
    assert (intent.calls, len(smtp_server.transactions)) == (1, 1)
    send(sender)
    assert smtp_server.connections == 2


def test_a_kept_connection_lost_after_the_final_dot_is_ambiguous_and_not_tried_again(
    smtp_server: SmtpServer, sender: SmtpTransport
) -> None:
    send(sender)
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"), times=1)
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


def test_a_slow_answer_within_the_time_out_counts(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    smtp_server.set_behaviour(Behaviour(dot_delay=0.5), times=1)
    assert send(sender).startswith("250")


def test_an_answer_later_than_the_time_out_is_ambiguous(smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(dot_delay=1.5), times=1)
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
    smtp_server: SmtpServer, sender: SmtpTransport
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(sender, Intent(fail))
    send(sender)
    assert len(smtp_server.transactions) == 1
    assert smtp_server.connections == 2


# Addresses


def test_a_domain_beyond_ascii_goes_out_in_its_ascii_form(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    send(sender, recipient="pat@münchen.example")
    assert smtp_server.messages[0].recipients == ("pat@xn--mnchen-3ya.example",)


def test_a_local_part_beyond_ascii_needs_a_relay_that_takes_it(smtp_server: SmtpServer, sender: SmtpTransport) -> None:
    send(sender, recipient="müller@clinic.example")
    assert smtp_server.messages[0].recipients == ("müller@clinic.example",)
    with ScriptedServer(*FEATURES) as server, open_sender(server.url) as plain:
        with pytest.raises(PermanentFailure, match="6531"):
            send(plain, recipient="müller@clinic.example")
        send(plain)
        assert server.connections == 1


@pytest.mark.parametrize(
    "address",
    [
        "",
        "pat",
        "@clinic.example",
        "pat@",
        "a b@clinic.example",
        "pat@clinic.example>\r\nRSET",
        "<pat@clinic.example>",
        "a@b@clinic.example",
        '"p"@clinic.example',
        "pat@\ud800.example",
        "x" * 65 + "@clinic.example",
        "pat@" + "y" * 256,
    ],
)
def test_an_address_that_is_not_one_plain_mailbox_is_a_permanent_failure(scripted: ScriptedServer, address: str) -> None:
    with open_sender(scripted.url) as sender, pytest.raises(PermanentFailure):
        send(sender, recipient=address)
    assert scripted.connections == 0


def test_an_empty_envelope_sender_is_the_null_sender(scripted: ScriptedServer) -> None:
    with open_sender(scripted.url) as sender:
        sender.transmit("", RECIPIENT, DATA, "created:1", Intent())
    assert f"MAIL FROM:<> SIZE={len(DATA) + 3}" in scripted.commands


def test_the_factory_opens_an_smtp_sender(smtp_server: SmtpServer) -> None:
    sender = open_transport(url_of(smtp_server), local_hostname="casemill.example")
    assert sender.transmit(SENDER, RECIPIENT, DATA, "created:1", Intent()).startswith("250")
    sender.close()
