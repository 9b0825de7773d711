"""`casemill ticket reply` and `casemill ticket recap`: write to the customer, with a preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By, TicketNumber, parse_ticket_number

if TYPE_CHECKING:
    from tickets.staff_messages import MessageDraft

Text = Annotated[str | None, typer.Option(help="The text, instead of the template's text.")]
File = Annotated[Path | None, typer.Option(help="A file with the text; - reads standard input.")]
To = Annotated[
    list[str] | None, typer.Option("--to", help="Recipient, one of the ticket's people; repeat for more. Default: the requester.")
]
Subject = Annotated[str | None, typer.Option(help="The subject, instead of the template's subject.")]
Preview = Annotated[bool, typer.Option("--preview", help="Show the message without sending it.")]
Edit = Annotated[bool, typer.Option("--edit", help="Open the message in $EDITOR before it is sent.")]
Fill = Annotated[
    list[str] | None, typer.Option("--fill", help="Fill a placeholder: NAME=TEXT, for example payer=Acme; repeat for more.")
]


def reply(
    number: TicketNumber,
    by: By,
    text: Text = None,
    file: File = None,
    subject: Subject = None,
    template: Annotated[str | None, typer.Option(help="Start with this template; see `casemill templates list`.")] = None,
    ask_for_more: Annotated[
        bool, typer.Option("--ask-for-more", help="Ask for the information that is missing on the ticket.")
    ] = False,
    fill: Fill = None,
    to: To = None,
    edit: Edit = False,
    preview: Preview = False,
) -> None:
    """Send a message to the customer. Their answer is added to the ticket."""
    from tickets.staff_messages import QUESTION, REPLY

    kind = QUESTION if ask_for_more else REPLY
    nothing = text is None and file is None and template is None and not ask_for_more and not fill
    _compose_and_send(
        number, by, kind, template, fill or [], _read_text(text, file), subject, to or [], edit=edit or nothing, preview=preview
    )


def recap(
    number: TicketNumber,
    by: By,
    resolution: Annotated[str, typer.Option(help="What was done; fills {{ resolution }} in the template.")] = "",
    text: Text = None,
    file: File = None,
    subject: Subject = None,
    template: Annotated[str | None, typer.Option(help="Use this template instead of the recap of resolution.")] = None,
    fill: Fill = None,
    to: To = None,
    edit: Edit = False,
    preview: Preview = False,
    by_phone: Annotated[
        bool, typer.Option("--by-phone", help="Send nothing; check the box because you gave the recap by telephone.")
    ] = False,
) -> None:
    """Send the recap of resolution. "5-Recap of Resolution Sent" is checked when the mail server accepts it."""
    from cli.ticket_actions import change_ticket
    from tickets import lifecycle
    from tickets.staff_messages import RECAP_MESSAGE

    if by_phone:
        change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.mark_recap_sent(session, ticket, staff, now))
        return
    filled = [f"resolution={resolution}"] if resolution else []
    words = [*filled, *(fill or [])]
    _compose_and_send(
        number, by, RECAP_MESSAGE, template, words, _read_text(text, file), subject, to or [], edit=edit, preview=preview
    )


def _compose_and_send(
    name: str, by: str, kind: str, template: str | None, fill: list[str], text: str | None, subject: str | None, to: list[str],
    *, edit: bool, preview: bool,
) -> None:  # fmt: skip
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets import staff_messages
    from tickets.numbers import format_number

    ticket_id, values = parse_ticket_number(name), dict(_parse_fill(one) for one in fill)
    with console.report_errors(), open_database() as (_, database):
        draft = database.transaction(
            lambda session: staff_messages.compose(
                session, ticket_id, find_person(session, by), kind, template=template, values=values, to=to
            )
        )
        title, words = subject or draft.subject, draft.text if text is None else text
        if edit and not preview:
            title, words = _edit_message(title, words)
        if preview:
            _print_preview(draft, title, words)
            return
        database.transaction(
            lambda session: staff_messages.send(
                session, ticket_id, find_person(session, by), kind, title, words, clock.now(), to=to, template=draft.template
            )
        )
    console.print_line(f"{format_number(ticket_id)}: queued for {', '.join(draft.to)}")


def _print_preview(draft: MessageDraft, subject: str, text: str) -> None:
    from cli import console
    from tickets.staff_messages import find_problems

    console.print_line(f"To:      {', '.join(draft.to) or 'no recipient'}")
    console.print_line(f"Subject: {subject}\n")
    console.print_line(text)
    words = set(find_problems(draft.subject, draft.text))
    problems = [*(one for one in draft.problems if one not in words), *find_problems(subject, text)]
    for problem in problems:
        console.print_line(f"Not ready: {problem}")
    if problems:
        raise typer.Exit(1)


def _edit_message(subject: str, text: str) -> tuple[str, str]:
    """Open subject (first line) and text in the editor, and return them. An empty file ends the command: nothing is sent."""
    from cli import console

    saved = console.open_editor(f"{subject}\n\n{text}")
    if not saved.strip():
        raise typer.Exit(1)
    first, _, rest = saved.partition("\n")
    return first.strip(), rest.strip()


def _read_text(text: str | None, file: Path | None) -> str | None:
    if file is None:
        return text
    return typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text("utf-8")


def _parse_fill(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.strip().isidentifier():
        raise typer.BadParameter(f"{text!r} is not NAME=TEXT")
    return name.strip(), value


def register(ticket_app: typer.Typer) -> None:
    """Add the commands of this module."""
    reply_example = "BS-000123 --by you@billing.example --text 'The payer has the corrected claim now.'"
    ticket_app.command("reply", epilog=f"Example: casemill ticket reply {reply_example}")(reply)
    recap_example = "BS-000123 --by you@billing.example --resolution 'The claim was paid in full.' --preview"
    ticket_app.command("recap", epilog=f"Example: casemill ticket recap {recap_example}")(recap)
