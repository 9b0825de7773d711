"""The text of `casemill ticket show`: readable at 80 columns, every decision with its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.console import Column, format_value, make_console, print_fields, print_line, print_table
from cli.options import format_minute

INDENT = "    "
MAX_WIDTH = 100


def print_ticket(ticket: Mapping[str, Any], *, full: bool = False) -> None:
    """Print the ticket that :func:`tickets.queries.show` returns; with ``full`` also quoted text and signatures."""
    console = make_console()
    print_line(f"{ticket['number']}  {format_value(ticket['name'])}", style="bold")
    print_fields(_collect_fields(ticket))
    if ticket["missing"]:
        _print_heading("missing")
        for missing in ticket["missing"]:
            _print_wrapped(console, f"- {format_value(missing)}", INDENT, "yellow")
    _print_heading("description")
    _print_lines(console, ticket["description"])
    _print_links(console, ticket["links"])
    _print_people(ticket["contacts"])
    _print_tasks(ticket["tasks"])
    _print_files(ticket["attachments"])
    _print_heading("timeline")
    for entry in ticket["timeline"]:
        _print_entry(console, entry)
        if entry["kind"] in ("message_in", "message_out"):
            _print_message(console, entry, ticket["description"], full)


def _collect_fields(ticket: Mapping[str, Any]) -> dict[str, object]:
    verified = {True: "yes", False: "no: the sender is not verified", None: None}
    issue = [ticket[name] for name in ("category", "issue", "issue_detail") if ticket[name]]
    return {
        "stage": ticket["stage"],
        "owner": f"{ticket['owner']} (away)" if ticket["owner_away"] else ticket["owner"] or "unassigned",
        "company": ticket["company"],
        "requester": ticket["requester"],
        "prefers": ticket["preferred_contact"],
        "source": str(ticket["source"]).replace("_", " "),
        "about": " › ".join(map(format_value, issue)),
        "type": ticket["type"],
        "pipeline": ticket["pipeline"],
        "created": format_minute(ticket["created_at"]),
        "verified": verified[ticket["sender_verified"]],
        "notice": ticket["creation_notice"],
        "follow-up": _describe_milestone(ticket["follow_up_sent"]),
        "resolution": _describe_milestone(ticket["resolution"]),
        "recap": _describe_milestone(ticket["recap_sent"]),
        "merged": ticket["merged_into"],
        "form": ticket["link"],
    }


def _print_links(console: Console, links: Sequence[Mapping[str, Any]]) -> None:
    open_links = [link for link in links if link["kind"] != "possible_match" or not link["settled_at"]]
    if open_links:
        _print_heading("other tickets")
        for link in open_links:
            _print_wrapped(
                console,
                f"{str(link['kind']).replace('_', ' ')} {link['number']}: {format_value(link['reason'])}",
                INDENT,
                "yellow",
            )


def _print_people(people: Sequence[Mapping[str, Any]]) -> None:
    if people:
        _print_heading("people")
        columns = [
            Column("email", no_wrap=True),
            Column("name"),
            Column("phone", no_wrap=True, drop_order=1),
            Column("role", no_wrap=True),
        ]
        print_table(columns, [(one["email"], one["name"], one["phone"], one["role"]) for one in people])


def _print_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    if tasks:
        _print_heading("tasks")
        columns = [Column("due", no_wrap=True), Column("for"), Column("task"), Column("done", no_wrap=True, drop_order=1)]
        print_table(
            columns, [(format_minute(t["due_at"]), t["assignee"], t["title"], format_minute(t["done_at"])) for t in tasks]
        )


def _print_files(files: Sequence[Mapping[str, Any]]) -> None:
    if files:
        _print_heading("files")
        columns = [Column("name"), Column("type", drop_order=1), Column("bytes", no_wrap=True, align_right=True)]
        print_table(columns, [(one["name"], one["type"], f"{one['size']:,}") for one in files])


def _print_entry(console: Console, entry: Mapping[str, Any]) -> None:
    kind, text, actor = format_value(entry["kind"]).replace("_", " "), format_value(entry["title"]), format_value(entry["actor"])
    title = f"{format_minute(entry['at'])}  {kind}: {text} ({actor})"
    _print_wrapped(console, title, "", hanging=INDENT)
    reasons = [format_value(reason["text"]) for reason in entry["reasons"]]
    for text in reasons:
        _print_wrapped(console, f"because: {text}", INDENT, "dim")
    body = format_value(entry["body"])
    if entry["kind"] not in ("message_in", "message_out") and body and body not in reasons:
        _print_wrapped(console, body, INDENT)


def _print_message(console: Console, entry: Mapping[str, Any], description: str, full: bool) -> None:
    """Print a message unless it is the description; then quoted text and signature, or a hint at --full."""
    if entry["body"] != description:
        _print_lines(console, entry["body"])
    rest = [(name, entry[name]) for name in ("signature", "quoted") if entry[name]]
    for name, text in rest if full else ():
        _print_wrapped(console, f"{name}:", INDENT, "dim")
        _print_lines(console, text, "dim")
    if rest and not full:
        _print_wrapped(console, f"({' and '.join(name for name, _ in rest)} not shown: --full)", INDENT, "dim")


def _print_lines(console: Console, text: str, style: str = "") -> None:
    for line in text.splitlines():
        _print_wrapped(console, format_value(line), INDENT, style)


def _print_heading(title: str) -> None:
    print_line("")
    print_line(title, style="bold")


def _print_wrapped(console: Console, text: str, indent: str, style: str = "", hanging: str | None = None) -> None:
    """Print text wrapped between words on a terminal, and on one line in a pipe."""
    below = indent + "  " if hanging is None else hanging
    width = min(console.width, MAX_WIDTH) if console.is_terminal else 10_000_000
    for line in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=below, break_on_hyphens=False) or [""]:
        console.print(Text(line, style=style), soft_wrap=True)


def _describe_milestone(mark: Mapping[str, Any] | None) -> str | None:
    return f"{format_minute(mark['at'])} by {mark['by']}" if mark else None
