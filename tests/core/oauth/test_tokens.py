"""Tokens of each provider: cached, renewed ahead, replaced when rejected. Errors contain no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core import clock
from core.oauth.grants import TokenRefusedError, TokenUnavailableError
from core.oauth.tokens import TokenSource, format_oauthbearer, format_xoauth2, token_source
from core.settings.sections import OAuth
from tests.servers.ports import free_port
from tests.servers.tls import Certificates
from tests.servers.tokens import CLIENT, REFRESH, SECRET, TokenServer
from tests.servers.web import HttpResponse

USER = "desk@billing.example"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def tokens(certificates: Certificates) -> Iterator[TokenServer]:
    with TokenServer(certificates, USER) as server:
        yield server


def oauth(server: TokenServer, provider: str, **changes: Any) -> OAuth:
    values: dict[str, Any] = {
        "provider": provider, "tenant": server.tenant, "client_id": CLIENT, "client_secret": SECRET, "authority": server.url,
        "token_url": f"{server.url}/token", "ca_file": server.ca_file,
    }  # fmt: skip
    return OAuth(**(values | changes))


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    """A key file as Google issues it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    path = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "client_email": "casemill@project.example",
        "private_key": pem,
        "token_uri": "https://x.example",
    }
    path.write_text(json.dumps(account))
    return path


@pytest.mark.parametrize(
    ("provider", "refresh", "scope"),
    [
        ("microsoft", False, "https://outlook.office365.com/.default"),
        ("microsoft", True, "https://outlook.office.com/IMAP.AccessAsUser.All"),
        ("google", True, "https://mail.google.com/"),
        ("other", False, None),
        ("other", True, None),
    ],
)
def test_each_provider_grants_a_token(tokens: TokenServer, provider: str, refresh: bool, scope: str | None) -> None:
    source = TokenSource(oauth(tokens, provider, **({"refresh_token": REFRESH} if refresh else {})), USER)
    assert tokens.is_valid(source.get_token())
    (request,) = tokens.token_requests
    assert request["grant_type"] == ("refresh_token" if refresh else "client_credentials")
    assert scope is None or scope in request["scope"].split()


def test_microsoft_person_needs_no_client_secret(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "microsoft", client_secret=None, refresh_token=REFRESH), USER)
    assert tokens.is_valid(source.get_token())


def test_google_service_account_acts_for_the_mailbox(tokens: TokenServer, service_account: Path) -> None:
    source = TokenSource(oauth(tokens, "google", service_account=service_account), USER)
    assert tokens.is_valid(source.get_token())
    (request,) = tokens.token_requests
    assert request["grant_type"].endswith("jwt-bearer")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"client_email": "a@b.example", "private_key": "x"}'])
def test_unusable_service_account_file_is_refused(tokens: TokenServer, tmp_path: Path, content: str) -> None:
    (tmp_path / "account.json").write_text(content)
    source = TokenSource(oauth(tokens, "google", service_account=tmp_path / "account.json"), USER)
    with pytest.raises(TokenRefusedError, match="service account"):
        source.get_token()


def test_token_is_cached_and_renewed_before_it_expires(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    with time_machine.travel(clock.now(), tick=False) as now:
        first = source.get_token()
        now.shift(timedelta(minutes=54))
        assert source.get_token() == first
        # Four minutes before it expires.
        now.shift(timedelta(minutes=2))
        assert source.get_token() != first
    assert len(tokens.token_requests) == 2


def test_cached_token_is_used_while_provider_is_unavailable(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    with time_machine.travel(clock.now(), tick=False) as now:
        first = source.get_token()
        tokens.refusal = HttpResponse(503)
        now.shift(timedelta(minutes=58))
        assert source.get_token() == first
        now.shift(timedelta(minutes=3))
        with pytest.raises(TokenUnavailableError):
            source.get_token()


def test_rejected_token_is_replaced_once(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    first = source.get_token()
    second = source.replace_rejected_token(first)
    assert second != first
    # Another thread reports the same rejection later.
    assert source.replace_rejected_token(first) == second
    assert len(tokens.token_requests) == 2


@pytest.mark.parametrize("provider", ["microsoft", "other"])
def test_refusal_names_the_code_and_is_not_repeated_at_once(tokens: TokenServer, provider: str) -> None:
    source = TokenSource(oauth(tokens, provider, client_secret="wrong-secret-canary"), USER)
    with time_machine.travel(clock.now(), tick=False) as now:
        for _ in range(3):
            with pytest.raises(TokenRefusedError, match="invalid_client, AADSTS7000215") as refusal:
                source.get_token()
            assert "canary" not in str(refusal.value) + refusal.value.hint
        assert len(tokens.token_requests) == 1
        now.shift(timedelta(minutes=2))
        with pytest.raises(TokenRefusedError):
            source.get_token()
    assert len(tokens.token_requests) == 2


@pytest.mark.parametrize("provider", ["microsoft", "google", "other"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HttpResponse(400, {"error": "invalid_grant", "error_description": "the words of a canary"}), TokenRefusedError),
        (HttpResponse(400, {"error": "slow_down"}), TokenUnavailableError),
        (HttpResponse(502, b"<html>canary</html>"), TokenUnavailableError),
    ],
)
def test_temporary_errors_and_refusals_are_distinguished(
    tokens: TokenServer, provider: str, answer: HttpResponse, error: type[Exception]
) -> None:
    tokens.refusal = answer
    with pytest.raises(error) as caught:
        TokenSource(oauth(tokens, provider, refresh_token=REFRESH), USER).get_token()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("provider", ["microsoft", "google", "other"])
def test_unreachable_provider_is_a_temporary_error(tokens: TokenServer, provider: str) -> None:
    unreachable = f"https://localhost:{free_port()}"
    settings = oauth(tokens, provider, refresh_token=REFRESH, authority=unreachable, token_url=unreachable)
    with pytest.raises(TokenUnavailableError, match="connection refusal"):
        TokenSource(settings, USER).get_token()


def test_provider_with_unknown_certificate_is_not_trusted(tokens: TokenServer) -> None:
    with pytest.raises(TokenUnavailableError, match="untrusted certificate"):
        TokenSource(oauth(tokens, "other", ca_file=None), USER).get_token()
    assert tokens.token_requests == []


def test_mailbox_and_outgoing_mail_with_equal_settings_share_tokens(tokens: TokenServer) -> None:
    assert token_source(oauth(tokens, "other"), USER) is token_source(oauth(tokens, "other"), USER)
    assert token_source(oauth(tokens, "other"), USER) is not token_source(oauth(tokens, "other"), "sales@billing.example")


def test_printed_settings_contain_no_secret(tokens: TokenServer) -> None:
    settings = oauth(tokens, "other", refresh_token=REFRESH)
    assert "canary" not in repr(settings) + settings.model_dump_json()


def test_responses_of_both_mechanisms_have_their_format() -> None:
    assert format_xoauth2("a@b.example", "t") == "user=a@b.example\1auth=Bearer t\1\1"
    assert format_oauthbearer("a=b,c@d.example", "t") == "n,a=a=3Db=2Cc@d.example,\1auth=Bearer t\1\1"


@pytest.mark.parametrize(
    "values",
    [
        {"provider": "microsoft", "client_id": "c", "client_secret": "s"},
        {"provider": "google", "client_id": "c", "client_secret": "s"},
        {"provider": "other", "client_id": "c", "client_secret": "s"},
        {"provider": "other", "token_url": "http://sign-in.example", "client_id": "c", "client_secret": "s"},
        {"provider": "microsoft", "tenant": "t", "client_id": "c", "client_secret": "s", "authority": "http://login.example"},
    ],
)
def test_incomplete_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|https://"):
        OAuth(**values)


def test_provider_libraries_are_loaded_with_the_first_token_only() -> None:
    program = (
        "import sys, cli.main, core.oauth.tokens, core.oauth.providers, ingest.sources.imap.watcher, notify.smtp_connection; "
    )
    program += "print([name for name in ('msal', 'google.auth', 'requests') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
