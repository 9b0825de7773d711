"""Servers are down at the start or go down later: nothing is lost, other work continues, and casemill recovers by itself."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.system import COMMAND, WORKERS, System
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer


def mail(number: int) -> bytes:
    return (
        f"From: p{number}@practice{number}.example\r\nSubject: outage {number}\r\nMessage-ID: <o{number}@p.example>\r\n"
        "Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nHello\r\n"
    ).encode()


def count_tickets(system: System, source: str) -> int:
    return system.count(f"ticket WHERE source = '{source}'")


@pytest.fixture
def embedded(tmp_path: Path, dovecot: DovecotServer, smtp_server: SmtpServer) -> Iterator[System]:
    dovecot.add_user("support")
    smtp_url = f"smtp://127.0.0.1:{smtp_server.port}"
    with closing(System(tmp_path, dovecot=dovecot, mailboxes=["support"], smtp_url=smtp_url)) as system:
        yield system


def test_imap_and_smtp_outages_at_the_start_and_later_lose_nothing(
    embedded: System, dovecot: DovecotServer, smtp_server: SmtpServer
) -> None:
    dovecot.deliver("support", mail(1))
    dovecot.stop()
    smtp_server.stop()
    embedded.start()
    assert embedded.post_form("71", email="a@one.example", subject="While both are down") == 200
    embedded.wait(lambda: count_tickets(embedded, "formstack") == 1, "the form's ticket while both are down")
    dovecot.start()
    smtp_server.start()
    embedded.wait(lambda: count_tickets(embedded, "email") == 1, "the mail after the mail server is back", 60)
    embedded.wait(lambda: len(smtp_server.messages) == 2, "both notices after the relay is back", 60)
    dovecot.cut_connections()
    dovecot.stop()
    smtp_server.stop()
    assert embedded.post_form("72", email="b@two.example", subject="Down again") == 200
    embedded.wait(lambda: count_tickets(embedded, "formstack") == 2, "the second form's ticket")
    dovecot.deliver("support", mail(2))
    smtp_server.start()
    dovecot.start()
    embedded.wait(lambda: count_tickets(embedded, "email") == 2, "the second mail", 90)
    embedded.wait(embedded.is_settled, "everything to be settled", 60)
    assert len(smtp_server.messages) == 4
    assert embedded.stop() == [0]


@pytest.fixture
def scaled(tmp_path: Path, postgres_url: str, redis_server: RedisServer, smtp_server: SmtpServer) -> Iterator[System]:
    smtp_url = f"smtp://127.0.0.1:{smtp_server.port}"
    with closing(System(tmp_path, database_url=postgres_url, redis_url=redis_server.url, smtp_url=smtp_url)) as system:
        system.run("migrate")
        yield system


def start_all(system: System) -> None:
    system.start([*COMMAND, "web"], [*COMMAND, "watch"], [*COMMAND, "tick"], WORKERS)


def test_redis_outage_loses_nothing_when_it_returns_empty(
    scaled: System, redis_server: RedisServer, smtp_server: SmtpServer
) -> None:
    start_all(scaled)
    assert scaled.post_form("81", email="a@one.example", subject="With Redis") == 200
    scaled.wait(lambda: len(smtp_server.messages) == 1, "the first notice", 60)
    redis_server.kill()
    assert scaled.post_form("82", email="b@two.example", subject="Without Redis") == 200
    assert scaled.get("/readyz") == 503
    redis_server.start()
    scaled.wait(lambda: len(smtp_server.messages) == 2, "the second notice within the time allowed", 30)
    scaled.wait(scaled.is_settled, "everything to be settled", 30)


def test_redis_outage_at_the_start_loses_nothing(scaled: System, redis_server: RedisServer, smtp_server: SmtpServer) -> None:
    redis_server.kill()
    scaled.start([*COMMAND, "web"], [*COMMAND, "tick"])
    assert scaled.post_form("83", email="a@one.example", subject="Before Redis") == 200
    redis_server.start()
    scaled.start(WORKERS)
    scaled.wait(lambda: len(smtp_server.messages) == 1, "the notice", 40)


def test_form_is_refused_rather_than_lost_while_postgresql_restarts(
    scaled: System, postgres_server: PostgresServer, smtp_server: SmtpServer
) -> None:
    start_all(scaled)
    assert scaled.post_form("91", email="a@one.example", subject="Before") == 200
    scaled.wait(lambda: len(smtp_server.messages) == 1, "the first notice", 60)
    postgres_server.stop("immediate")
    assert scaled.post_form("92", email="b@two.example", subject="During") == 503
    postgres_server.start()
    scaled.wait(lambda: scaled.post_form("92", email="b@two.example", subject="During") == 200, "the form to be taken", 30)
    scaled.wait(lambda: len(smtp_server.messages) == 2, "the second notice", 60)
    scaled.wait(scaled.is_settled, "everything to be settled", 30)
    assert scaled.count("ticket") == 2


def test_unreachable_database_at_the_start_is_reported_with_a_hint(tmp_path: Path) -> None:
    with closing(System(tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")) as system:
        answer = system.run("run", check=False)
    assert answer.returncode == 1
    assert "error:" in answer.stderr
    assert "hint:" in answer.stderr
    assert "Traceback" not in answer.stderr
