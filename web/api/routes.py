"""The table of API addresses: what each takes, returns and requires.

Routing (:mod:`web.api.endpoint`), the OpenAPI document (:mod:`web.api.openapi`) and the tests are all made from :data:`ROUTES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from web.api import read_handlers, requests, responses, write_handlers
from web.api.context import Call

PREFIX = "/api/v1"
_PATH_PARAMETERS = {"number": "The ticket's number, such as BS-000123.", "id": "The record's id."}


@dataclass(frozen=True)
class ApiRoute:
    """One row of the table: a method at an address.

    ``scope`` is the scope a token needs. ``query``, ``body`` and ``response`` are msgspec types; a read has no body.
    ``status`` is the status of success.
    """

    method: str
    path: str
    scope: str
    summary: str
    handler: Callable[[Call], Any]
    response: type[Any]
    query: type[Any] = requests.NoFields
    body: type[Any] | None = None
    status: int = 200
    takes_idempotency_key: bool = False

    @property
    def template(self) -> str:
        """The whole path with its parameters in braces, such as ``/api/v1/tickets/{number}``."""
        return PREFIX + self.path

    @property
    def operation_id(self) -> str:
        """The unique name of the operation in the OpenAPI document: the name of the handler."""
        return self.handler.__name__

    @property
    def path_parameters(self) -> dict[str, str]:
        """The names of the path's parameters with their descriptions."""
        return {name: _PATH_PARAMETERS[name] for name in re.findall(r"{(\w+)}", self.path)}

    @property
    def is_write(self) -> bool:
        return self.method != "GET"


_TICKET, _TASK = "/tickets/{number}", "/tasks/{id}"
ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute("GET", "/tickets", "tickets:read", "The tickets of a saved view, the newest first.",
          read_handlers.list_tickets, responses.Tickets, query=requests.ListTickets),
    ApiRoute("POST", "/tickets", "tickets:write", "Create a ticket, such as after a phone call.",
          write_handlers.create_ticket, responses.Ticket, body=requests.NewTicket, status=201, takes_idempotency_key=True),
    ApiRoute("GET", _TICKET, "tickets:read", "A ticket with its contacts, timeline and reasons.",
          read_handlers.show_ticket, responses.Ticket),
    ApiRoute("POST", _TICKET + "/replies", "tickets:write", "Reply to the customer, or request missing information.",
          write_handlers.reply, responses.StaffMessageResult, body=requests.Reply, takes_idempotency_key=True),
    ApiRoute("POST", _TICKET + "/recap", "tickets:write", "Send the recap of resolution.",
          write_handlers.recap, responses.StaffMessageResult, body=requests.StaffMessage, takes_idempotency_key=True),
    ApiRoute("POST", _TICKET + "/recap-sent", "tickets:write", "Check “5-Recap of Resolution Sent” for a recap given by phone.",
          write_handlers.mark_recap_sent, responses.Ticket, body=requests.Mark),
    ApiRoute("POST", _TICKET + "/notes", "tickets:write", "Add a note to the timeline; only staff see it.",
          write_handlers.add_note, responses.Ticket, body=requests.Note, takes_idempotency_key=True),
    ApiRoute("POST", _TICKET + "/assign", "tickets:write", "Reassign the ticket, or take it yourself.",
          write_handlers.assign, responses.Ticket, body=requests.Assign),
    ApiRoute("POST", _TICKET + "/follow-up-sent", "tickets:write", "Check “4-Support Follow Up Sent”.",
          write_handlers.mark_follow_up_sent, responses.Ticket, body=requests.Mark),
    ApiRoute("POST", _TICKET + "/resolution", "tickets:write", "Set Resolution to Yes.",
          write_handlers.mark_resolved, responses.Ticket, body=requests.Mark),
    ApiRoute("POST", _TICKET + "/reopen", "tickets:write", "Reopen a completed ticket.",
          write_handlers.reopen, responses.Ticket, body=requests.Reopen),
    ApiRoute("POST", _TICKET + "/move", "tickets:write", "Move a ticket to a stage that the rules do not lead to; managers only.",
          write_handlers.move, responses.Ticket, body=requests.Move),
    ApiRoute("POST", _TICKET + "/tasks", "tasks:write", "Add a follow-up task.",
          write_handlers.add_task, responses.Task, body=requests.NewTask, status=201, takes_idempotency_key=True),
    ApiRoute("GET", "/tasks", "tasks:read", "Follow-up tasks, the most overdue first.",
          read_handlers.list_tasks, responses.Tasks, query=requests.ListTasks),
    ApiRoute("GET", _TASK, "tasks:read", "A follow-up task.", read_handlers.show_task, responses.Task),
    ApiRoute("POST", _TASK + "/done", "tasks:write", "Mark a task as done.",
          write_handlers.finish_task, responses.Task, body=requests.NoFields),
    ApiRoute("POST", _TASK + "/reopen", "tasks:write", "Reopen a task that was marked as done.",
          write_handlers.reopen_task, responses.Task, body=requests.ReopenTask),
    ApiRoute("POST", _TASK + "/hand-over", "tasks:write", "Reassign a task, or take it yourself.",
          write_handlers.hand_over_task, responses.Task, body=requests.HandOver),
    ApiRoute("POST", _TASK + "/postpone", "tasks:write", "Postpone a task.",
          write_handlers.postpone_task, responses.Task, body=requests.Postpone),
    ApiRoute("GET", "/companies", "directory:read", "Companies, in the order in which they were added.",
          read_handlers.list_companies, responses.Companies, query=requests.ListDirectory),
    ApiRoute("GET", "/companies/{id}", "directory:read", "A company.", read_handlers.show_company, responses.Company),
    ApiRoute("GET", "/contacts", "directory:read", "Contacts, in the order in which they were added.",
          read_handlers.list_contacts, responses.Contacts, query=requests.ListContacts),
    ApiRoute("GET", "/contacts/{id}", "directory:read", "A contact.", read_handlers.show_contact, responses.Contact),
    ApiRoute("GET", "/items", "items:read", "Inbound items with their outcome and its reason, the newest first.",
          read_handlers.list_items, responses.Items, query=requests.ListItems),
    ApiRoute("GET", "/items/{id}", "items:read", "An inbound item, and every place it was received from.",
          read_handlers.show_item, responses.ItemShown),
)  # fmt: skip


def group_by_template() -> dict[str, dict[str, ApiRoute]]:
    """Return the table as template → method → route, in the order of :data:`ROUTES`."""
    grouped: dict[str, dict[str, ApiRoute]] = {}
    for route in ROUTES:
        grouped.setdefault(route.template, {})[route.method] = route
    return grouped
