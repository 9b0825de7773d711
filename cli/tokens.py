"""`casemill token`: tokens with which programs use the API on behalf of a member of staff."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json

app = typer.Typer(help="API tokens for programs: add, list, revoke.", no_args_is_help=True)
SCOPES_HELP = (
    "What the program may do; repeat for more: tickets:read, tickets:write, tasks:read, tasks:write, directory:read, items:read."
)
EXAMPLE = "Example: casemill token add --for ruth@billing.example --name 'night report' --scope tickets:read --scope tasks:read"


@app.command(epilog=EXAMPLE)
def add(
    holder: Annotated[str, typer.Option("--for", help="Email address of the member of staff for whom the program acts.")],
    name: Annotated[str, typer.Option(help="What the token is for, for example 'night report'.")],
    scope: Annotated[list[str], typer.Option(help=SCOPES_HELP)],
    days: Annotated[int, typer.Option(min=1, max=730, help="Days until it expires.")] = 365,
    json: Json = False,
) -> None:
    """Create a token and show its secret. The secret is not stored and cannot be shown again."""
    from accounts import api_tokens
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock

    with console.report_errors(), open_database() as (_, database):

        def unit(session):  # type: ignore[no-untyped-def]
            token, secret = api_tokens.issue(session, find_person(session, holder), name, scope, days, clock.now())
            return token.id, token.expires_at, secret

        token_id, expires_at, secret = database.transaction(unit)
    if json:
        console.print_json({"id": token_id, "expires_at": expires_at.isoformat(timespec="seconds"), "token": secret})
        return
    console.print_line(f"token {token_id}, valid until {expires_at:%Y-%m-%d}. Copy it now, it is not shown again:")
    typer.echo(secret)


@app.command("list", epilog="Example: casemill token list")
def list_all(json: Json = False) -> None:
    """List all tokens, without their secrets."""
    from accounts import api_tokens
    from cli import console
    from cli.context import open_database
    from core import clock

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = api_tokens.list_tokens(session, clock.now())
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("token", no_wrap=True, align_right=True),
        console.Column("name"),
        console.Column("for"),
        console.Column("may"),
        console.Column("until", no_wrap=True),
        console.Column("last used", no_wrap=True),
        console.Column("state", no_wrap=True),
    ]
    cells = [
        (row["id"], row["name"], row["staff"], ", ".join(row["scopes"]), row["expires_at"][:10],
         (row["last_used_at"] or "never")[:16].replace("T", " "), row["state"])
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="no tokens")


@app.command(epilog="Example: casemill token revoke 3")
def revoke(token: Annotated[int, typer.Argument(help="The number in the first column of `casemill token list`.")]) -> None:
    """Revoke a token at once."""
    from accounts import api_tokens
    from cli import console
    from cli.context import open_database
    from core import clock

    with console.report_errors(), open_database() as (_, database):
        name = database.transaction(lambda session: api_tokens.revoke(session, token, clock.now()).name)
    console.print_line(f"token {token} ({console.format_value(name)}) is revoked")
