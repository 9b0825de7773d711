"""Sign-in with tokens to a real Dovecot, which accepts only tokens and checks each with a sign-in service."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from core.database.session import Database
from core.errors import RefusedError
from core.oauth.tokens import token_source
from core.settings.sections import Mailbox, OAuth
from ingest.sources.imap.session import ImapSession
from ingest.sources.imap.sign_in import sign_in
from tests.ingest.sources.support import cursor, mailbox, message, numbers, watching
from tests.ingest.support import IngestHarness
from tests.servers import needs
from tests.servers.dovecot import DovecotServer
from tests.servers.tls import Certificates
from tests.servers.tokens import CLIENT, SECRET, TokenServer
from tests.servers.web import HttpResponse
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def token_server(certificates: Certificates) -> Iterator[TokenServer]:
    with TokenServer(certificates, "desk") as server:
        yield server


@pytest.fixture(scope="module")
def token_dovecot(server_folder: Path, certificates: Certificates, token_server: TokenServer) -> Iterator[DovecotServer]:
    needs.require("dovecot")
    server = DovecotServer(server_folder / "dovecot-tokens", certificates, token_server.introspection_url)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def desk(token_dovecot: DovecotServer, token_server: TokenServer) -> Iterator[DovecotServer]:
    token_server.revoke_all()
    token_server.refusal, token_server.lifetime_seconds = None, 3600.0
    token_server.token_requests.clear()
    token_source.cache_clear()
    token_dovecot.add_user("desk")
    yield token_dovecot
    token_dovecot.reset()


def box(desk: DovecotServer, tokens: TokenServer, secret: str = SECRET, **changes: Any) -> Mailbox:
    oauth = OAuth.model_validate({
        "provider": "microsoft", "tenant": tokens.tenant, "client_id": CLIENT, "client_secret": secret,
        "authority": tokens.url, "ca_file": tokens.ca_file,
    })  # fmt: skip
    return mailbox(desk, auth="xoauth2", password="", oauth=oauth, **changes)


def test_two_sessions_use_the_same_token(desk: DovecotServer, token_server: TokenServer) -> None:
    desk.deliver("desk", message(1))
    for _ in range(2):
        with ImapSession(box(desk, token_server)) as session:
            assert session.selected.message_count == 1
    assert len(token_server.token_requests) == 1


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_both_token_mechanisms_work(
    desk: DovecotServer, token_server: TokenServer, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = IMAPClient(desk.host, desk.port, ssl=False)
    monkeypatch.setattr(client, "has_capability", lambda name: name == f"AUTH={mechanism}")
    sign_in(client, box(desk, token_server))
    assert client.select_folder("INBOX")[b"EXISTS"] == 0
    client.logout()


def test_server_without_token_mechanisms_has_its_own_error_code(dovecot: DovecotServer, token_server: TokenServer) -> None:
    with pytest.raises(RefusedError) as refusal:
        ImapSession(box(dovecot, token_server))
    assert refusal.value.code == "missing_xoauth2"


def test_rejected_token_is_renewed_once(desk: DovecotServer, token_server: TokenServer) -> None:
    with ImapSession(box(desk, token_server)):
        token_server.revoke_all()
    with ImapSession(box(desk, token_server)) as session:
        assert session.selected.message_count == 0
    assert len(token_server.token_requests) == 2


def test_second_rejection_is_final_and_logs_no_secret(
    desk: DovecotServer, token_server: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    token_server.lifetime_seconds = 0.0
    with caplog.at_level(logging.DEBUG), pytest.raises(RefusedError) as refusal:
        ImapSession(box(desk, token_server))
    assert refusal.value.code == "rejected_token"
    assert len(token_server.token_requests) == 2
    assert "canary" not in caplog.text + str(refusal.value)


def test_token_that_expires_during_idle_loses_no_mail(
    harness: IngestHarness, desk: DovecotServer, token_server: TokenServer
) -> None:
    token_server.lifetime_seconds = 2.0
    with watching(harness.database, box(desk, token_server, poll_seconds=60.0), "support"):
        desk.deliver("desk", message(1))
        wait_until(lambda: numbers(harness.database) == [1])
        expired = token_server.introspected_tokens[-1]
        wait_until(lambda: not token_server.is_valid(expired))
        # Some servers end a session when its token expires.
        desk.cut_connections()
        desk.deliver("desk", message(2))
        wait_until(lambda: numbers(harness.database) == [1, 2], 30)
        desk.deliver("desk", message(3))
        wait_until(lambda: numbers(harness.database) == [1, 2, 3], 30)
    assert expired != token_server.introspected_tokens[-1]
    assert len(token_server.token_requests) >= 2
    harness.drain()
    assert len(harness.tickets()) == 3


def test_refused_sign_in_releases_the_mailbox_to_another_process(
    database: Database, desk: DovecotServer, token_server: TokenServer
) -> None:
    desk.deliver("desk", message(1))
    with watching(database, box(desk, token_server, secret="wrong")):
        wait_until(lambda: (row := cursor(database)) is not None and row.error == "token_refusal")
        with watching(database, box(desk, token_server)):
            wait_until(lambda: numbers(database) == [1], 30)


def test_watcher_retries_while_the_provider_is_unavailable(
    database: Database, desk: DovecotServer, token_server: TokenServer
) -> None:
    token_server.refusal = HttpResponse(503)
    desk.deliver("desk", message(1))
    with watching(database, box(desk, token_server)):
        wait_until(lambda: (row := cursor(database)) is not None and row.error == "token_unavailable")
        token_server.refusal = None
        wait_until(lambda: numbers(database) == [1], 30)
