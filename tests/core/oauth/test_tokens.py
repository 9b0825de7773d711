"""Tokens from each kind of provider: kept, renewed ahead, given up when rejected; what fails says so without any secret."""

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
    """A key file as Google gives one out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    path = tmp_path / "account.json"
    about = {
        "type": "service_account",
        "client_email": "mill@project.example",
        "private_key": pem,
        "token_uri": "https://x.example",
    }
    path.write_text(json.dumps(about))
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
def test_each_provider_gives_a_token_in_its_own_way(tokens: TokenServer, provider: str, refresh: bool, scope: str | None) -> None:
    source = TokenSource(oauth(tokens, provider, **({"refresh_token": REFRESH} if refresh else {})), USER)
    assert tokens.is_valid(source.get_token())
    (asked,) = tokens.token_requests
    assert asked["grant_type"] == ("refresh_token" if refresh else "client_credentials")
    assert scope is None or scope in asked["scope"].split()


def test_a_person_of_microsoft_needs_no_secret_of_the_application(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "microsoft", client_secret=None, refresh_token=REFRESH), USER)
    assert tokens.is_valid(source.get_token())


def test_a_service_account_of_google_acts_for_the_mailbox(tokens: TokenServer, service_account: Path) -> None:
    source = TokenSource(oauth(tokens, "google", service_account=service_account), USER)
    assert tokens.is_valid(source.get_token())
    (asked,) = tokens.token_requests
    assert asked["grant_type"].endswith("jwt-bearer")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"client_email": "a@b.example", "private_key": "x"}'])
def test_a_service_account_file_that_is_none_is_a_refusal(tokens: TokenServer, tmp_path: Path, content: str) -> None:
    (tmp_path / "account.json").write_text(content)
    source = TokenSource(oauth(tokens, "google", service_account=tmp_path / "account.json"), USER)
    with pytest.raises(TokenRefusedError, match="service account"):
        source.get_token()


def test_a_token_is_kept_and_renewed_before_it_ends(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    with time_machine.travel(clock.now(), tick=False) as now:
        first = source.get_token()
        now.shift(timedelta(minutes=54))
        assert source.get_token() == first
        now.shift(timedelta(minutes=2))  # four minutes before its end
        assert source.get_token() != first
    assert len(tokens.token_requests) == 2


def test_a_provider_that_is_away_costs_nothing_while_the_token_is_good(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    with time_machine.travel(clock.now(), tick=False) as now:
        first = source.get_token()
        tokens.refusal = HttpResponse(503)
        now.shift(timedelta(minutes=58))
        assert source.get_token() == first
        now.shift(timedelta(minutes=3))
        with pytest.raises(TokenUnavailableError):
            source.get_token()


def test_a_rejected_token_is_replaced_and_one_rejected_twice_is_asked_for_once(tokens: TokenServer) -> None:
    source = TokenSource(oauth(tokens, "other"), USER)
    first = source.get_token()
    second = source.replace_rejected_token(first)
    assert second != first
    assert source.replace_rejected_token(first) == second  # another thread's news is old
    assert len(tokens.token_requests) == 2


@pytest.mark.parametrize("provider", ["microsoft", "other"])
def test_a_refusal_is_permanent_says_the_code_and_rests(tokens: TokenServer, provider: str) -> None:
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
def test_passing_trouble_and_refusals_are_told_apart(
    tokens: TokenServer, provider: str, answer: HttpResponse, error: type[Exception]
) -> None:
    tokens.refusal = answer
    with pytest.raises(error) as caught:
        TokenSource(oauth(tokens, provider, refresh_token=REFRESH), USER).get_token()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("provider", ["microsoft", "google", "other"])
def test_a_provider_that_cannot_be_reached_is_passing_trouble(tokens: TokenServer, provider: str) -> None:
    away = f"https://localhost:{free_port()}"
    given = oauth(tokens, provider, refresh_token=REFRESH, authority=away, token_url=away)
    with pytest.raises(TokenUnavailableError, match="connection refusal"):
        TokenSource(given, USER).get_token()


def test_a_provider_with_a_certificate_nobody_knows_is_not_trusted(tokens: TokenServer) -> None:
    with pytest.raises(TokenUnavailableError, match="untrusted certificate"):
        TokenSource(oauth(tokens, "other", ca_file=None), USER).get_token()
    assert tokens.token_requests == []


def test_a_mailbox_and_mail_out_of_the_same_settings_share_their_tokens(tokens: TokenServer) -> None:
    assert token_source(oauth(tokens, "other"), USER) is token_source(oauth(tokens, "other"), USER)
    assert token_source(oauth(tokens, "other"), USER) is not token_source(oauth(tokens, "other"), "sales@billing.example")


def test_nothing_secret_is_in_the_settings_as_they_print(tokens: TokenServer) -> None:
    given = oauth(tokens, "other", refresh_token=REFRESH)
    assert "canary" not in repr(given) + given.model_dump_json()


def test_the_words_of_both_mechanisms() -> None:
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
def test_settings_that_cannot_give_a_token_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|https://"):
        OAuth(**values)


def test_the_providers_libraries_are_loaded_with_the_first_token_only() -> None:
    program = (
        "import sys, cli.main, core.oauth.tokens, core.oauth.providers, ingest.sources.imap.watcher, notify.smtp_connection; "
    )
    program += "print([name for name in ('msal', 'google.auth', 'requests') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
