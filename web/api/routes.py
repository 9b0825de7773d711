"""The table of the API: every address with what it takes, gives and needs. Routing, the document and the tests go by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from web.api import read_handlers, requests, responses, write_handlers
from web.api.context import Call

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
    query: type[Any] = requests.Asked
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
          read_handlers.list_tickets, responses.Tickets, query=requests.ListTickets),
    Route("POST", "/tickets", "tickets:write", "Enter a ticket, such as after a call.",
          write_handlers.create_ticket, responses.Ticket, body=requests.NewTicket, status=201, once=True),
    Route("GET", _TICKET, "tickets:read", "A ticket with its people, timeline and reasons.",
          read_handlers.show_ticket, responses.Ticket),
    Route("POST", _TICKET + "/replies", "tickets:write", "Write to the customer, or ask for what is missing.",
          write_handlers.reply, responses.Written, body=requests.Reply, once=True),
    Route("POST", _TICKET + "/recap", "tickets:write", "Send the recap of resolution.",
          write_handlers.recap, responses.Written, body=requests.Letter, once=True),
    Route("POST", _TICKET + "/recap-sent", "tickets:write", "Check “5-Recap of Resolution Sent” for a recap given by telephone.",
          write_handlers.mark_recap_sent, responses.Ticket, body=requests.Mark),
    Route("POST", _TICKET + "/notes", "tickets:write", "Put a note on the timeline, for staff only.",
          write_handlers.add_note, responses.Ticket, body=requests.Note, once=True),
    Route("POST", _TICKET + "/assign", "tickets:write", "Hand the ticket over, or take it.",
          write_handlers.assign, responses.Ticket, body=requests.Assign),
    Route("POST", _TICKET + "/follow-up-sent", "tickets:write", "Check “4-Support Follow Up Sent”.",
          write_handlers.mark_follow_up_sent, responses.Ticket, body=requests.Mark),
    Route("POST", _TICKET + "/resolution", "tickets:write", "Set Resolution to Yes.",
          write_handlers.mark_resolved, responses.Ticket, body=requests.Mark),
    Route("POST", _TICKET + "/reopen", "tickets:write", "Open a completed ticket again.",
          write_handlers.reopen, responses.Ticket, body=requests.Reopen),
    Route("POST", _TICKET + "/move", "tickets:write", "Move a ticket where the rules do not; for managers.",
          write_handlers.move, responses.Ticket, body=requests.Move),
    Route("POST", _TICKET + "/tasks", "tasks:write", "Add a follow-up task.",
          write_handlers.add_task, responses.Task, body=requests.NewTask, status=201, once=True),
    Route("GET", "/tasks", "tasks:read", "Follow-up tasks, the most overdue first.",
          read_handlers.list_tasks, responses.Tasks, query=requests.ListTasks),
    Route("GET", _TASK, "tasks:read", "A follow-up task.", read_handlers.show_task, responses.Task),
    Route("POST", _TASK + "/done", "tasks:write", "Mark a task as done.",
          write_handlers.finish_task, responses.Task, body=requests.Asked),
    Route("POST", _TASK + "/reopen", "tasks:write", "Open a task again that was called done.",
          write_handlers.reopen_task, responses.Task, body=requests.ReopenTask),
    Route("POST", _TASK + "/hand-over", "tasks:write", "Hand a task over, or take it.",
          write_handlers.hand_over_task, responses.Task, body=requests.HandOver),
    Route("POST", _TASK + "/postpone", "tasks:write", "Give a task another moment.",
          write_handlers.postpone_task, responses.Task, body=requests.Postpone),
    Route("GET", "/companies", "directory:read", "Companies, in the order in which they were added.",
          read_handlers.list_companies, responses.Companies, query=requests.ListDirectory),
    Route("GET", "/companies/{id}", "directory:read", "A company.", read_handlers.show_company, responses.Company),
    Route("GET", "/contacts", "directory:read", "Contacts, in the order in which they were added.",
          read_handlers.list_contacts, responses.Contacts, query=requests.ListContacts),
    Route("GET", "/contacts/{id}", "directory:read", "A contact.", read_handlers.show_contact, responses.Contact),
    Route("GET", "/items", "items:read", "Inbound items and why they became what they did, the last first.",
          read_handlers.list_items, responses.Items, query=requests.ListItems),
    Route("GET", "/items/{id}", "items:read", "An inbound item, and where it was seen.",
          read_handlers.show_item, responses.ItemShown),
)  # fmt: skip


def find(path: str) -> dict[str, tuple[Route, dict[str, str]]]:
    """Method → the route of an address (without the prefix), and its variable parts; empty for an address that is none."""
    found: dict[str, tuple[Route, dict[str, str]]] = {}
    for route in ROUTES:
        match = route.pattern.match(path)
        if match is not None:
            found[route.method] = route, match.groupdict()
    return found
