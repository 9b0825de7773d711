"""The servers the tests stand on do what the tests believe of them."""

import imaplib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imapclient
import psycopg
import pytest
import redis

from tests.servers.dovecot import DovecotServer
from tests.servers.ports import is_listening, wait_until_closed
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from tests.servers.workspace import remove_leftovers

MESSAGE = b"From: anna@clinic.example\r\nSubject: Blood count\r\n\r\nPlease call back.\r\n..dots\r\n"
USER = "care@support.example"


@contextmanager
def imap(server: DovecotServer, port: int | None = None, user: str = USER) -> Iterator[imapclient.IMAPClient]:
    context = ssl.create_default_context(cafile=str(server.ca_file)) if port is None else None
    timeout = imapclient.SocketTimeout(connect=5, read=10)
    client = imapclient.IMAPClient(
        server.host, port=port or server.tls_port, ssl=port is None, ssl_context=context, timeout=timeout
    )
    try:
        client.login(user, server.password)
        yield client
    finally:
        client.shutdown()


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


class TestDovecot:
    def test_a_delivered_message_is_read_over_verified_tls(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE)
        with imap(dovecot) as client:
            client.select_folder("INBOX")
            [uid] = client.search()
            assert client.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"] == MESSAGE

    def test_a_client_without_our_authority_refuses_the_certificate(self, dovecot: DovecotServer) -> None:
        context = ssl.create_default_context()
        with (
            socket.create_connection((dovecot.host, dovecot.tls_port), timeout=5) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(plain, server_hostname=dovecot.host)

    def test_a_wrong_password_and_an_unknown_user_are_refused(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        for user, password in ((USER, "wrong"), ("nobody@support.example", dovecot.password)):
            client = imapclient.IMAPClient(dovecot.host, port=dovecot.port, ssl=False, timeout=5)
            with pytest.raises(imapclient.exceptions.LoginError):
                client.login(user, password)
            client.shutdown()

    def test_idle_sees_a_delivery_within_two_seconds(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        with imap(dovecot, dovecot.port) as client:
            client.select_folder("INBOX")
            client.idle()
            dovecot.deliver(USER, MESSAGE)
            begun = time.monotonic()
            answers = client.idle_check(timeout=10)
            assert (1, b"EXISTS") in answers
            assert time.monotonic() - begun < 2
            client.idle_done()

    def test_a_message_moved_by_the_client_is_counted_in_its_new_folder(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE)
        with imap(dovecot) as client:
            assert b"MOVE" in client.capabilities()
            client.create_folder("Erledigt/Übrig")
            client.select_folder("INBOX")
            client.move(client.search(), "Erledigt/Übrig")
        assert (dovecot.count(USER), dovecot.count(USER, "Erledigt/Übrig")) == (0, 1)
        assert dovecot.messages(USER, "Erledigt/Übrig") == [MESSAGE]

    def test_a_folder_made_by_a_delivery_is_seen_by_the_client(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE, folder="Forms/Été")
        with imap(dovecot) as client:
            assert client.select_folder("Forms/Été")[b"EXISTS"] == 1

    def test_a_reset_changes_the_uidvalidity_and_keeps_the_mail(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE)
        with imap(dovecot) as client:
            before = client.select_folder("INBOX")[b"UIDVALIDITY"]
        dovecot.reset_uidvalidity(USER)
        with imap(dovecot) as client:
            answer = client.select_folder("INBOX")
        assert answer[b"UIDVALIDITY"] != before
        assert answer[b"EXISTS"] == 1

    def test_it_comes_back_on_the_same_ports_with_its_mail(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE)
        dovecot.stop()
        assert wait_until_closed(dovecot.tls_port)
        dovecot.start()
        with imap(dovecot) as client:
            assert client.select_folder("INBOX")[b"EXISTS"] == 1

    def test_a_cut_connection_ends_for_the_client(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        with imap(dovecot, dovecot.port) as client:
            dovecot.cut_connections()
            with pytest.raises((OSError, imaplib.IMAP4.error)):
                client.noop()
                client.noop()

    def test_a_reset_forgets_users_and_mail(self, dovecot: DovecotServer) -> None:
        dovecot.add_user(USER)
        dovecot.deliver(USER, MESSAGE)
        dovecot.reset()
        time.sleep(1.1)  # Dovecot looks at its users once a second
        with pytest.raises(imapclient.exceptions.LoginError), imap(dovecot):
            pass
        dovecot.add_user(USER)
        with imap(dovecot) as client:
            assert client.select_folder("INBOX")[b"EXISTS"] == 0


class TestPostgres:
    def test_each_database_is_empty_and_of_its_own(self, postgres_server: PostgresServer) -> None:
        first, second = postgres_server.create_database(), postgres_server.create_database()
        rows(first, "CREATE TABLE ticket (id int)")
        assert rows(second, "SELECT 1 FROM pg_tables WHERE tablename = 'ticket'") == []
        for url in (first, second):
            postgres_server.drop_database(url)

    def test_a_committed_row_survives_an_immediate_restart(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        rows(postgres_url, "CREATE TABLE ticket (id int)")
        rows(postgres_url, "INSERT INTO ticket VALUES (7)")
        postgres_server.restart("immediate")
        assert rows(postgres_url, "SELECT id FROM ticket") == [(7,)]

    def test_an_immediate_restart_breaks_an_open_transaction(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE ticket (id int)")
            postgres_server.restart("immediate")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert rows(postgres_url, "SELECT 1 FROM pg_tables WHERE tablename = 'ticket'") == []

    def test_commits_reach_the_disk(self, postgres_url: str) -> None:
        assert rows(postgres_url, "SHOW fsync") == [("on",)]

    def test_a_wrong_password_is_refused(self, postgres_url: str) -> None:
        user, _, place = postgres_url.replace("+psycopg", "").partition("@")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{user}x@{place}")

    def test_a_database_test_runs_on_both_kinds(self, database_url: str, tmp_path: Path) -> None:
        assert database_url.startswith((f"sqlite:///{tmp_path}", "postgresql+psycopg://"))


class TestRedis:
    def test_it_is_empty_answers_and_forgets_when_flushed(self, redis_server: RedisServer) -> None:
        with redis.Redis.from_url(redis_server.url) as client:
            assert client.dbsize() == 0
            client.set("hint", "drain")
            redis_server.flush()
            assert client.get("hint") is None

    def test_a_killed_server_refuses_and_comes_back_empty(self, redis_server: RedisServer) -> None:
        with redis.Redis.from_url(redis_server.url) as client:
            client.set("hint", "drain")
        redis_server.kill()
        assert not is_listening(redis_server.port)
        redis_server.start()
        with redis.Redis.from_url(redis_server.url) as client:
            assert client.get("hint") is None

    def test_a_suspended_server_hangs_until_it_is_resumed(self, redis_server: RedisServer) -> None:
        redis_server.suspend()
        with redis.Redis.from_url(redis_server.url, socket_timeout=0.2, retry=None) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
            redis_server.resume()
            assert client.ping()

    def test_a_server_restarted_by_a_passing_thread_lives_on(self, redis_server: RedisServer) -> None:
        def restart() -> None:
            redis_server.kill()
            redis_server.start()

        thread = threading.Thread(target=restart)
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert redis_server.process.running


_START_ALL = """
import json, sys, time
from pathlib import Path
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from tests.servers.tls import make_certificates
folder = Path(sys.argv[1])
servers = [DovecotServer(folder / "d", make_certificates(folder)), PostgresServer(folder / "p"),
           RedisServer(folder / "r")]
for server in servers:
    server.start()
print(json.dumps([server.port for server in servers]), flush=True)
time.sleep(60)
"""


def test_servers_die_with_a_killed_test_process(
    dovecot_server: DovecotServer, postgres_server: PostgresServer, redis_process: RedisServer, server_folder: Path
) -> None:
    folder = server_folder / "killed"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", _START_ALL, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        assert all(is_listening(port) for port in ports)
        os.kill(process.pid, signal.SIGKILL)
    assert [port for port in ports if not wait_until_closed(port)] == []


def test_the_folder_of_a_dead_run_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    dead = tmp_path / f"casemill-tests-{process.pid}-abc"
    living = tmp_path / f"casemill-tests-{os.getpid()}-abc"
    other = tmp_path / "casemill-tests-notes"
    for folder in (dead, living, other):
        (folder / "inner").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert [folder.exists() for folder in (dead, living, other)] == [False, True, True]


def run_without_redis(tmp_path: Path, *, ci: bool) -> subprocess.CompletedProcess[str]:
    """A test run of its own on a machine that seems to have no Redis."""
    (tmp_path / "no_redis.py").write_text(
        "from tests.servers import needs\n"
        "from dataclasses import replace\n"
        "needs.REQUIREMENTS['redis'] = replace(needs.REQUIREMENTS['redis'], find=lambda: None)\n"
    )
    environment = {**os.environ, "CI": str(ci).lower(), "PYTHONPATH": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no_redis", "-k", "flushed or dead_run", __file__],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=False,
    )


def test_a_test_without_its_server_is_named_as_not_run(tmp_path: Path) -> None:
    done = run_without_redis(tmp_path, ci=False)
    assert done.returncode == 0, done.stdout
    assert "tests not run: 1, redis is not installed (on Debian: apt-get install redis-server)" in done.stdout
    assert "NOT RUN tests/test_servers.py::TestRedis::test_it_is_empty" in done.stdout
    assert "1 passed" in done.stdout


def test_a_test_without_its_server_fails_in_ci(tmp_path: Path) -> None:
    done = run_without_redis(tmp_path, ci=True)
    assert done.returncode == 1, done.stdout
    assert "1 passed, " in done.stdout
    assert "1 error" in done.stdout


def test_a_skipped_test_fails_the_run_in_ci(tmp_path: Path) -> None:
    file = tmp_path / "test_skipped.py"
    file.write_text("import pytest\ndef test_nothing(): pytest.skip('no reason')\n")
    codes = [
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-p",
                "tests.conftest",
                "-q",
                "--rootdir",
                str(tmp_path),
                str(file),
            ],
            capture_output=True,
            check=False,
            env={**os.environ, "CI": ci},
            cwd=Path(__file__).parents[1],
        ).returncode
        for ci in ("false", "true")
    ]
    assert codes == [0, 1]
