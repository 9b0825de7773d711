"""The faults the servers and the proxy make on request happen where they are told to."""

import imaplib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.servers.dovecot import DovecotServer
from tests.servers.ports import is_listening
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import Behaviour, Drop, SmtpServer
from tests.test_servers import MESSAGE, USER, imap
from tests.waiting import scale_budget


def send(server: SmtpServer, *recipients: str) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP(server.host, server.port, timeout=10) as client:
        return client.sendmail("desk@support.example", recipients or ("anna@clinic.example",), MESSAGE)


class TestSmtp:
    def test_an_accepted_message_is_kept_byte_for_byte(self, smtp_server: SmtpServer) -> None:
        assert send(smtp_server, "anna@clinic.example", "ben@clinic.example") == {}
        [message] = smtp_server.messages
        assert message.mail_from == "desk@support.example"
        assert message.recipients == ("anna@clinic.example", "ben@clinic.example")
        assert message.content == MESSAGE

    @pytest.mark.parametrize(
        ("behaviour", "error"),
        [
            (Behaviour(mail="451 4.3.0 Try later"), smtplib.SMTPSenderRefused),
            (Behaviour(rcpt="550 5.1.1 No such user"), smtplib.SMTPRecipientsRefused),
            (Behaviour(dot="554 5.6.0 Not this one"), smtplib.SMTPDataError),
        ],
    )
    def test_a_refusal_is_given_once_and_the_next_message_is_taken(
        self, smtp_server: SmtpServer, behaviour: Behaviour, error: type[Exception]
    ) -> None:
        smtp_server.set_behaviour(behaviour, times=1)
        with pytest.raises(error):
            send(smtp_server)
        assert smtp_server.messages == []
        send(smtp_server)
        assert len(smtp_server.messages) == 1

    def test_one_refused_recipient_leaves_the_others(self, smtp_server: SmtpServer) -> None:
        smtp_server.set_behaviour(Behaviour(rcpt_of={"ben@clinic.example": "550 5.1.1 No such user"}))
        refused = send(smtp_server, "anna@clinic.example", "ben@clinic.example")
        assert refused == {"ben@clinic.example": (550, b"5.1.1 No such user")}
        assert smtp_server.messages[0].recipients == ("anna@clinic.example",)

    def test_a_slow_server_keeps_the_message_before_it_answers(self, smtp_server: SmtpServer) -> None:
        smtp_server.set_behaviour(Behaviour(dot_delay=0.5))
        begun = time.monotonic()
        send(smtp_server)
        assert time.monotonic() - begun >= 0.5
        assert [message.reply for message in smtp_server.messages] == ["250 OK"]

    @pytest.mark.parametrize(
        ("drop", "dots", "stored"),
        [
            ("connect", 0, 0),
            ("mail", 0, 0),
            ("rcpt", 0, 0),
            ("data", 0, 0),
            ("dot_lost", 1, 0),
            ("dot_stored", 1, 1),
        ],
    )
    def test_a_connection_is_dropped_where_told(self, smtp_server: SmtpServer, drop: Drop, dots: int, stored: int) -> None:
        smtp_server.set_behaviour(Behaviour(drop=drop), times=1)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(smtp_server)
        assert (len(smtp_server.transactions), len(smtp_server.messages)) == (dots, stored)
        send(smtp_server)
        assert len(smtp_server.messages) == stored + 1

    def test_a_stopped_server_refuses_and_comes_back_on_its_port(self, smtp_server: SmtpServer) -> None:
        smtp_server.stop()
        with pytest.raises(ConnectionRefusedError):
            send(smtp_server)
        smtp_server.start()
        send(smtp_server)
        assert len(smtp_server.messages) == 1

    def test_an_idle_connection_can_be_cut(self, smtp_server: SmtpServer) -> None:
        client = smtplib.SMTP(smtp_server.host, smtp_server.port, timeout=5)
        client.ehlo()
        smtp_server.drop_connections()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.docmd("NOOP")
        client.close()

    def test_starttls_and_the_login_are_insisted_on(self, smtp_starttls_server: SmtpServer) -> None:
        server = smtp_starttls_server
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(server)
        with smtplib.SMTP(server.host, server.port, timeout=5) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(server.ca_file)))
            with pytest.raises(smtplib.SMTPSenderRefused):
                client.sendmail("desk@support.example", ["anna@clinic.example"], MESSAGE)
            client.login(server.username, server.password)
            client.sendmail("desk@support.example", ["anna@clinic.example"], MESSAGE)
        assert [message.content for message in server.messages] == [MESSAGE]

    def test_implicit_tls_takes_the_right_login_only(self, smtp_tls_server: SmtpServer) -> None:
        server = smtp_tls_server
        context = ssl.create_default_context(cafile=str(server.ca_file))
        with smtplib.SMTP_SSL(server.host, server.port, timeout=5, context=context) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(server.username, "wrong")
            client.login(server.username, server.password)
            client.sendmail("desk@support.example", ["anna@clinic.example"], MESSAGE)
        assert len(server.messages) == 1


@contextmanager
def source_of(content: bytes) -> Iterator[int]:
    """A server that sends `content` to every client and waits for the client to hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(content)
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(scale_budget(5))


def read_from(port: int, timeout: float = 2) -> bytes:
    """What arrives before the other side hangs up; raises TimeoutError when it does not."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        while data := client.recv(4096):
            received += data
    return received


class TestProxy:
    @pytest.mark.parametrize("count", [0, 1, 9_999, 100_000])
    def test_exactly_the_bytes_before_the_cut_arrive(self, make_proxy: Callable[[int], Proxy], count: int) -> None:
        with source_of(bytes(300_000)) as port:
            proxy = make_proxy(port)
            proxy.cut_after(count)
            assert len(read_from(proxy.port)) == count
            proxy.stop()

    def test_only_the_next_connection_is_cut(self, make_proxy: Callable[[int], Proxy], dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        proxy = make_proxy(dovecot.port)
        proxy.cut_after(200)
        # imapclient lets a cut connection escape in several guises; each is one of these.
        with pytest.raises((OSError, imaplib.IMAP4.error)), imap(dovecot, proxy.port) as client:
            for _ in range(50):
                client.noop()
        with imap(dovecot, proxy.port) as client:
            assert client.select_folder("INBOX")[b"EXISTS"] == 0
        assert proxy.connections == 2

    def test_a_cut_towards_the_server_loses_the_rest_of_the_message(
        self, make_proxy: Callable[[int], Proxy], smtp_server: SmtpServer
    ) -> None:
        proxy = make_proxy(smtp_server.port)
        proxy.cut_after(100, "to_server")
        with (
            pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)),
            smtplib.SMTP(proxy.host, proxy.port, timeout=5) as client,
        ):
            client.sendmail("desk@support.example", ["anna@clinic.example"], MESSAGE)
        assert smtp_server.transactions == []
        assert proxy.passed["to_server"] == 100

    def test_a_hang_passes_nothing_and_resume_passes_all(
        self, make_proxy: Callable[[int], Proxy], redis_server: RedisServer
    ) -> None:
        proxy = make_proxy(redis_server.port)
        with redis.Redis.from_url(f"redis://127.0.0.1:{proxy.port}", socket_timeout=0.3, retry=None) as client:
            assert client.ping()
            proxy.hang()
            with pytest.raises(redis.TimeoutError):
                client.set("hint", "late")
            proxy.resume()
            assert client.ping()

    def test_a_stopped_proxy_refuses_and_cuts_what_is_open(
        self, make_proxy: Callable[[int], Proxy], redis_server: RedisServer
    ) -> None:
        proxy = make_proxy(redis_server.port)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(20) == b"+PONG\r\n"
            proxy.stop()
            assert client.recv(20) == b""
        assert not is_listening(proxy.port)
        proxy.start()
        assert is_listening(proxy.port)
