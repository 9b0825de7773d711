"""The table of the API: every address with what it takes, gives and needs. Routing, the document and the tests go by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from web.api import acts, asked, given, reads
from web.api.calls import Call

PREFIX = "/api/v1"
_PARTS = {"number": "The ticket's number, such as BS-000123.", "id": "The record's id."}


@dataclass(frozen=True)
class Route:
    """``scope`` is what a token needs; ``query`` and ``body`` are the shapes of what is asked, ``gives`` that of the answer.

    ``once`` says that the route takes an Idempotency-Key. ``status`` is that of success.
    """

    method: str
    path: str
    scope: str
    does: str
    handler: Callable[[Call], Any]
    gives: type[Any]
    query: type[Any] = asked.Asked
    body: type[Any] | None = None
    status: int = 200
    once: bool = False

    @property
    def template(self) -> str:
        return PREFIX + self.path

    @property
    def name(self) -> str:
        """What the document calls it; no two have the same."""
        return self.handler.__name__

    @property
    def parts(self) -> dict[str, str]:
        """The variable parts of the address, and what they are."""
        return {name: _PARTS[name] for name in re.findall(r"{(\w+)}", self.path)}

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.path) + r"\Z")


_TICKET, _TASK = "/tickets/{number}", "/tasks/{id}"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/tickets", "tickets:read", "The tickets of a saved view, the newest first.",
          reads.list_tickets, given.Tickets, query=asked.ListTickets),
    Route("POST", "/tickets", "tickets:write", "Enter a ticket, such as after a call.",
          acts.create_ticket, given.Ticket, body=asked.NewTicket, status=201, once=True),
    Route("GET", _TICKET, "tickets:read", "A ticket with its people, timeline and reasons.", reads.show_ticket, given.Ticket),
    Route("POST", _TICKET + "/replies", "tickets:write", "Write to the customer, or ask for what is missing.",
          acts.reply, given.Written, body=asked.Reply, once=True),
    Route("POST", _TICKET + "/recap", "tickets:write", "Send the recap of resolution.",
          acts.recap, given.Written, body=asked.Letter, once=True),
    Route("POST", _TICKET + "/recap-sent", "tickets:write", "Check “5-Recap of Resolution Sent” for a recap given by telephone.",
          acts.mark_recap_sent, given.Ticket, body=asked.Mark),
    Route("POST", _TICKET + "/notes", "tickets:write", "Put a note on the timeline, for staff only.",
          acts.add_note, given.Ticket, body=asked.Note, once=True),
    Route("POST", _TICKET + "/assign", "tickets:write", "Hand the ticket over, or take it.",
          acts.assign, given.Ticket, body=asked.Assign),
    Route("POST", _TICKET + "/follow-up-sent", "tickets:write", "Check “4-Support Follow Up Sent”.",
          acts.mark_follow_up_sent, given.Ticket, body=asked.Mark),
    Route("POST", _TICKET + "/resolution", "tickets:write", "Set Resolution to Yes.",
          acts.mark_resolved, given.Ticket, body=asked.Mark),
    Route("POST", _TICKET + "/reopen", "tickets:write", "Open a completed ticket again.",
          acts.reopen, given.Ticket, body=asked.Reopen),
    Route("POST", _TICKET + "/move", "tickets:write", "Move a ticket where the rules do not; for managers.",
          acts.move, given.Ticket, body=asked.Move),
    Route("POST", _TICKET + "/tasks", "tasks:write", "Add a follow-up task.",
          acts.add_task, given.Task, body=asked.NewTask, status=201, once=True),
    Route("GET", "/tasks", "tasks:read", "Follow-up tasks, the most overdue first.",
          reads.list_tasks, given.Tasks, query=asked.ListTasks),
    Route("GET", _TASK, "tasks:read", "A follow-up task.", reads.show_task, given.Task),
    Route("POST", _TASK + "/done", "tasks:write", "Mark a task as done.", acts.finish_task, given.Task, body=asked.Asked),
    Route("POST", _TASK + "/reopen", "tasks:write", "Open a task again that was called done.",
          acts.reopen_task, given.Task, body=asked.ReopenTask),
    Route("POST", _TASK + "/hand-over", "tasks:write", "Hand a task over, or take it.",
          acts.hand_over_task, given.Task, body=asked.HandOver),
    Route("POST", _TASK + "/postpone", "tasks:write", "Give a task another moment.",
          acts.postpone_task, given.Task, body=asked.Postpone),
    Route("GET", "/companies", "directory:read", "Companies, in the order in which they were added.",
          reads.list_companies, given.Companies, query=asked.ListDirectory),
    Route("GET", "/companies/{id}", "directory:read", "A company.", reads.show_company, given.Company),
    Route("GET", "/contacts", "directory:read", "Contacts, in the order in which they were added.",
          reads.list_contacts, given.Contacts, query=asked.ListContacts),
    Route("GET", "/contacts/{id}", "directory:read", "A contact.", reads.show_contact, given.Contact),
    Route("GET", "/items", "items:read", "Inbound items and why they became what they did, the last first.",
          reads.list_items, given.Items, query=asked.ListItems),
    Route("GET", "/items/{id}", "items:read", "An inbound item, and where it was seen.", reads.show_item, given.ItemShown),
)  # fmt: skip


def find(path: str) -> dict[str, tuple[Route, dict[str, str]]]:
    """Method → the route of an address (without the prefix), and its variable parts; empty for an address that is none."""
    found: dict[str, tuple[Route, dict[str, str]]] = {}
    for route in ROUTES:
        match = route.pattern.match(path)
        if match is not None:
            found[route.method] = route, match.groupdict()
    return found
