"""`casemill doctor`: tokens, client secrets that expire, and Formstack's list of submissions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core import clock
from core.oauth.tokens import token_source
from tests.cli.support import CommandResult, run
from tests.servers.formstack import TOKEN, FormstackServer
from tests.servers.ports import free_port
from tests.servers.tls import Certificates
from tests.servers.tokens import CLIENT, TokenServer
from tests.servers.web import HttpResponse


@pytest.fixture
def server() -> Iterator[FormstackServer]:
    with FormstackServer() as running:
        yield running


def findings(ran: CommandResult, check: str) -> list[tuple[str, str, str]]:
    assert "canary" not in ran.out + ran.err
    return [(one["state"], one["text"], one["hint"]) for one in ran.json if one["check"] == check]


def configure(workdir: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.delenv("CASEMILL_CONFIG")
    (workdir / "casemill.toml").write_text(text)


@pytest.mark.parametrize(
    ("response", "state", "text", "hint"),
    [
        (None, "ok", "can be read", ""),
        (HttpResponse(401, b"canary"), "problem", "refused token", "create a new token"),
        (HttpResponse(403), "problem", "missing permission", "may see"),
        (HttpResponse(404), "problem", "unknown form", "check the form's number"),
        (HttpResponse(500), "warning", "status 500", "tries again"),
        (HttpResponse(200, b"<html>"), "warning", "bad answer", "base_url"),
    ],
)
def test_each_answer_of_formstack_has_its_hint(
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: FormstackServer,
    response: HttpResponse | None,
    state: str,
    text: str,
    hint: str,
) -> None:
    server.failures = [response] if response else []
    head = "[forms.5512345]\nunsigned = true\n[forms.5512345.backfill]\n"
    configure(workdir, monkeypatch, f'{head}token = "{TOKEN}"\nbase_url = "{server.url}"\n')
    ((found_state, found_text, found_hint),) = findings(run("doctor", "--json"), "form 5512345")
    assert found_state == state
    assert text in found_text and hint in found_hint


def test_wrong_or_expiring_secret_is_reported_without_the_secret(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    token_source.cache_clear()
    with TokenServer(certificates, "desk") as tokens:
        oauth = (
            f'provider = "other"\nclient_id = "{CLIENT}"\nclient_secret = "wrong-canary"\ntoken_url = "{tokens.url}/token"\n'
            f'ca_file = "{tokens.ca_file}"\nclient_secret_expires = {clock.now().date() + timedelta(days=6)}\n'
        )
        url = f"smtp://desk@localhost:{free_port()}"
        configure(workdir, monkeypatch, f'smtp_url = "{url}"\n[smtp]\nauth = "xoauth2"\n[smtp.oauth]\n{oauth}')
        ran = run("doctor", "--json")
    ((state, text, hint),) = findings(ran, "client secrets")
    assert (state, "smtp.oauth.client_secret expires in" in text, "new secret" in hint) == ("warning", True, True)
    assert findings(ran, "mail out")[0][0] == "problem"


def test_secret_without_a_known_last_day_is_a_warning(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(
        workdir, monkeypatch, f'[mailboxes.desk]\nhost = "localhost"\nport = {free_port()}\nuser = "desk"\nauth = "xoauth2"\n'
        '[mailboxes.desk.oauth]\nprovider = "microsoft"\ntenant = "t"\nclient_id = "c"\nclient_secret = "canary"\n'
    )  # fmt: skip
    ((state, text, hint),) = findings(run("doctor", "--json"), "client secrets")
    assert (state, "mailboxes.desk.oauth" in text, "client_secret_expires" in hint) == ("warning", True, True)
