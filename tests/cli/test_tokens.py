"""`casemill token`: a secret is shown once and is neither listed nor stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounts import api_tokens
from accounts.api_tokens import PREFIX
from cli import console
from core import clock
from core.database.session import Database
from tests.cli.support import run

RUTH = "ruth@billing.example"


@pytest.fixture
def staffed(workdir: Path) -> Path:
    assert run("staff", "add", RUTH, "--name", "Ruth").code == 0
    return workdir


def add(*scopes: str, days: str = "30") -> str:
    """Create a token and return its secret."""
    wanted = [part for scope in scopes for part in ("--scope", scope)]
    token: str = run("token", "add", "--for", RUTH, "--name", "night report", "--days", days, *wanted, "--json").json["token"]
    return token


def find(workdir: Path, secret: str) -> api_tokens.Bearer | None:
    database = Database(f"sqlite:///{workdir / 'var' / 'casemill.db'}")
    with database.read() as session:
        found = api_tokens.authenticate(session, secret, clock.now())
    database.close()
    return found


def test_new_token_is_shown_once_and_valid_for_its_scopes(staffed: Path) -> None:
    done = run("token", "add", "--for", RUTH, "--name", "night report", "--scope", "tickets:read", "--scope", "tasks:read")
    assert done.code == 0
    secret = done.out.splitlines()[-1]
    assert secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43
    found = find(staffed, secret)
    assert found is not None and found.scopes == {"tickets:read", "tasks:read"}
    listed = run("token", "list").out + str(run("token", "list", "--json").json)
    assert "night report" in listed and secret not in listed
    assert secret.encode() not in (staffed / "var" / "casemill.db").read_bytes()


def test_revoked_token_is_invalid_and_listed_as_revoked(staffed: Path) -> None:
    secret = add("items:read")
    number = run("token", "list", "--json").json[0]["id"]
    assert run("token", "revoke", str(number)).out == f"token {number} (night report) is revoked\n"
    assert find(staffed, secret) is None
    assert run("token", "list", "--json").json[0]["state"] == "revoked"
    assert run("token", "revoke", str(number)).code == 0, "a second revocation changes nothing"


def test_tokens_of_inactive_staff_are_invalid(staffed: Path) -> None:
    secret = add("items:read")
    assert run("staff", "add", RUTH, "--inactive").code == 0
    assert find(staffed, secret) is None
    assert run("token", "list", "--json").json[0]["state"] == "holder not active"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--for", RUTH, "--name", "x", "--scope", "everything"), "there is no scope everything"),
        (("--for", RUTH, "--name", " ", "--scope", "items:read"), "needs a name"),
        (("--for", "nobody@billing.example", "--name", "x", "--scope", "items:read"), "nobody@billing.example"),
    ],
)
def test_invalid_token_request_is_refused(staffed: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = run("token", "add", *arguments)
    assert done.code in (console.EXIT_PROBLEM, console.EXIT_USAGE)
    assert problem in done.err
    assert run("token", "list", "--json").json == []


def test_unknown_token_cannot_be_revoked(staffed: Path) -> None:
    done = run("token", "revoke", "7")
    assert done.code == console.EXIT_PROBLEM and "there is no token 7" in done.err
