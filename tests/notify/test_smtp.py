"""The SMTP transport against real servers: an aiosmtpd that misbehaves, and a scripted server for exact sequences."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.smtp import SmtpTransport
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure
from notify.transport_factory import open_transport
from tests.notify.scripted_server import ScriptedServer
from tests.notify.smtp_support import DATA, FEATURES, RECIPIENT, SENDER, Intent, open_smtp, send, url_of
from tests.servers.ports import free_port
from tests.servers.smtp import Behaviour, SmtpServer

# Delivery


def test_message_arrives_unchanged_with_its_envelope(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    assert send(transport).startswith("250 ")
    (message,) = smtp_server.messages
    assert message.content == DATA
    assert (message.mail_from, message.recipients) == (SENDER, (RECIPIENT,))


def test_intent_is_committed_before_relay_has_message(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    seen: list[int] = []
    intent = Intent(lambda: seen.append(len(smtp_server.transactions)))
    send(transport, intent)
    assert (seen, intent.calls, len(smtp_server.transactions)) == ([0], 1, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.text(alphabet=".a \t", max_size=6), max_size=8))
def test_leading_dots_arrive_unchanged(scripted_server: ScriptedServer, lines: list[str]) -> None:
    data = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
    with open_smtp(scripted_server.url) as transport:
        send(transport, data=data)
    assert scripted_server.contents[-1] == data


@pytest.mark.parametrize("data", [b"Subject: x\n\ny\n", b"Subject: x\r\n\r\ny\n.\r\n", b"a\r\nb\rc\r\n", b"a\r\nno end", b""])
def test_bare_cr_or_lf_is_never_sent(scripted_server: ScriptedServer, data: bytes) -> None:
    with open_smtp(scripted_server.url) as transport, pytest.raises(PermanentFailure, match="CRLF"):
        send(transport, data=data)
    assert scripted_server.connections == 0


def test_all_sent_lines_end_in_crlf(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        send(transport)
    wire = b"".join(scripted_server.chunks)
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
    smtp_server: SmtpServer, transport: SmtpTransport, step: str, reply: str, failure: type[DeliveryError]
) -> None:
    behaviours = {"mail": Behaviour(mail=reply), "rcpt": Behaviour(rcpt=reply), "dot": Behaviour(dot=reply)}
    smtp_server.set_behaviour(behaviours[step], times=1)
    intent = Intent()
    with pytest.raises(failure) as caught:
        send(transport, intent)
    assert caught.value.reply == reply
    assert intent.calls == (1 if step == "dot" else 0)
    assert smtp_server.messages == []


@pytest.mark.parametrize("features", [FEATURES, ("8BITMIME",)])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_connection_is_reused_after_refusal(verb: str, features: tuple[str, ...]) -> None:
    with ScriptedServer(*features) as server, open_smtp(server.url) as transport:
        server.script(verb, "550 no")
        if verb != "DATA" and "PIPELINING" in features:
            server.script("DATA", "503 no recipients")
        with pytest.raises(PermanentFailure, match="550 no"):
            send(transport)
        send(transport)
        assert server.connections == 1
        assert server.verbs().count("RSET") == 1
        assert server.contents == [DATA]


def test_sign_in_required_at_mail_command_is_temporary_failure(scripted_server: ScriptedServer) -> None:
    scripted_server.script("MAIL", "530 5.7.0 Authentication required")
    scripted_server.script("RCPT", "503 first MAIL")
    scripted_server.script("DATA", "503 first MAIL")
    with open_smtp(scripted_server.url) as transport, pytest.raises(TemporaryFailure, match="530"):
        send(transport)


def test_long_multiline_reply_becomes_one_short_printable_line(scripted_server: ScriptedServer) -> None:
    scripted_server.script(".", "550-first\r\n550-\x1b[31msecond\r\n550 " + "x" * 400)
    with open_smtp(scripted_server.url) as transport, pytest.raises(PermanentFailure) as caught:
        send(transport)
    assert caught.value.reply.startswith("550 first [31msecond xxx")
    assert len(caught.value.reply) == 300
    assert caught.value.reply.isprintable()


# Lost connections


@pytest.mark.parametrize("drop", ["connect", "mail", "rcpt", "data"])
def test_connection_lost_before_final_dot_is_temporary_failure(
    smtp_server: SmtpServer, transport: SmtpTransport, drop: str
) -> None:
    smtp_server.set_behaviour(Behaviour(drop=drop))  # type: ignore[arg-type]
    # The last drop races with our write: waiting for it in the intent makes sure that it comes before the final dot.
    with pytest.raises(TemporaryFailure):
        send(transport, Intent(smtp_server.drop_connections))
    smtp_server.set_behaviour(Behaviour())
    send(transport)
    assert len(smtp_server.messages) == 1


@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"])
def test_connection_lost_after_final_dot_is_ambiguous(smtp_server: SmtpServer, transport: SmtpTransport, drop: str) -> None:
    smtp_server.set_behaviour(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
    intent = Intent()
    with pytest.raises(AmbiguousOutcome):
        send(transport, intent)
    assert (intent.calls, len(smtp_server.transactions)) == (1, 1)
    send(transport)
    assert smtp_server.connections == 2


def test_reused_connection_lost_after_final_dot_is_ambiguous_and_not_retried(
    smtp_server: SmtpServer, transport: SmtpTransport
) -> None:
    send(transport)
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"), times=1)
    with pytest.raises(AmbiguousOutcome):
        send(transport)
    assert len(smtp_server.messages) == 2


def test_relay_closing_during_intent_commit_has_delivered_nothing(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        with pytest.raises(TemporaryFailure):
            send(transport, Intent(scripted_server.hang_up))
        send(transport)
    assert scripted_server.contents == [DATA]


def test_tls_relay_closing_during_intent_commit_has_delivered_nothing(smtp_tls_server: SmtpServer) -> None:
    url = f"smtps://casemill:correct%20horse@localhost:{smtp_tls_server.port}?cafile={smtp_tls_server.ca_file}"
    with open_smtp(url) as transport:
        with pytest.raises(TemporaryFailure):
            send(transport, Intent(smtp_tls_server.drop_connections))
        send(transport)
    assert len(smtp_tls_server.messages) == 1


def test_reply_before_final_dot_is_not_taken_as_its_reply(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        with pytest.raises(TemporaryFailure, match="552 too much"):
            send(transport, Intent(lambda: scripted_server.send_line("552 too much")))
        assert scripted_server.contents == []
        scripted_server.script("DATA", "354 go\r\n250 queued already", "354 go\r\n250 queued already")
        intent = Intent()
        with pytest.raises(TemporaryFailure, match="before the final dot"):
            send(transport, intent)
    assert intent.calls == 0
    assert scripted_server.contents == []


def test_421_after_final_dot_is_temporary_and_closes_connection(scripted_server: ScriptedServer) -> None:
    scripted_server.script(".", "421 4.3.2 shutting down")
    with open_smtp(scripted_server.url) as transport:
        with pytest.raises(TemporaryFailure, match="421"):
            send(transport)
        send(transport)
    assert scripted_server.connections == 2


@pytest.mark.parametrize("reply", ["354 still waiting", "gibberish", "199 odd", "250" + "x" * 9000])
def test_invalid_reply_to_final_dot_is_ambiguous(scripted_server: ScriptedServer, reply: str) -> None:
    scripted_server.script(".", reply)
    with open_smtp(scripted_server.url) as transport:
        with pytest.raises(AmbiguousOutcome):
            send(transport)
        send(transport)
    assert scripted_server.connections == 2


def test_slow_reply_within_timeout_is_accepted(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    smtp_server.set_behaviour(Behaviour(dot_delay=0.5), times=1)
    assert send(transport).startswith("250")


def test_reply_after_timeout_is_ambiguous(smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(dot_delay=1.5), times=1)
    with open_smtp(url_of(smtp_server), final_timeout=0.2) as transport, pytest.raises(AmbiguousOutcome):
        send(transport)


def test_closed_port_is_temporary_failure() -> None:
    with open_smtp(f"smtp://127.0.0.1:{free_port()}") as transport, pytest.raises(TemporaryFailure, match="no connection"):
        send(transport)


@pytest.mark.parametrize("greeting", ["554 5.3.2 go away", "421 busy", "nonsense"])
def test_refusing_greeting_is_temporary_failure(greeting: str) -> None:
    with ScriptedServer(greeting=greeting) as server, open_smtp(server.url) as transport, pytest.raises(TemporaryFailure):
        send(transport)


def test_exception_from_intent_commit_propagates_and_nothing_is_delivered(
    smtp_server: SmtpServer, transport: SmtpTransport
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send(transport, Intent(fail))
    send(transport)
    assert len(smtp_server.transactions) == 1
    assert smtp_server.connections == 2


# Addresses


def test_non_ascii_domain_is_sent_in_ascii_form(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    send(transport, recipient="pat@münchen.example")
    assert smtp_server.messages[0].recipients == ("pat@xn--mnchen-3ya.example",)


def test_non_ascii_local_part_needs_smtputf8(smtp_server: SmtpServer, transport: SmtpTransport) -> None:
    send(transport, recipient="müller@clinic.example")
    assert smtp_server.messages[0].recipients == ("müller@clinic.example",)
    with ScriptedServer(*FEATURES) as server, open_smtp(server.url) as plain:
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
def test_malformed_address_is_permanent_failure(scripted_server: ScriptedServer, address: str) -> None:
    with open_smtp(scripted_server.url) as transport, pytest.raises(PermanentFailure):
        send(transport, recipient=address)
    assert scripted_server.connections == 0


def test_empty_envelope_sender_is_null_sender(scripted_server: ScriptedServer) -> None:
    with open_smtp(scripted_server.url) as transport:
        transport.transmit("", RECIPIENT, DATA, "created:1", Intent())
    assert f"MAIL FROM:<> SIZE={len(DATA) + 3}" in scripted_server.commands


def test_open_transport_returns_smtp_transport(smtp_server: SmtpServer) -> None:
    transport = open_transport(url_of(smtp_server), local_hostname="casemill.example")
    assert transport.transmit(SENDER, RECIPIENT, DATA, "created:1", Intent()).startswith("250")
    transport.close()
