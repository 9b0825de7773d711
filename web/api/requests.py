"""Request types of the API: query strings and bodies are validated by them, and the OpenAPI document describes them.

An unknown field is refused, so that a misspelt field is an error and is not silently ignored.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Limit = Annotated[int, Meta(ge=1, le=200, description="The most rows to return.")]
Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Cursor = Annotated[str, Meta(max_length=200, description="Where the page starts: `next` of the previous page.")]
Address = Annotated[str, Meta(max_length=254, description="The email address of a member of staff.")]
Line = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=100_000)]
Reason = Annotated[str, Meta(min_length=1, max_length=1_000, description="Why; recorded on the ticket's timeline.")]
Version = Annotated[
    int | UnsetType, Meta(description="The version that was read; refused with 409 when the ticket has changed since.")
]
View = Literal["unassigned", "open", "mine", "today", "overdue", "audit", "matches", "completed", "all"]
Source = Literal["email", "formstack", "secure_message", "portal", "phone"]


class NoFields(Struct, forbid_unknown_fields=True):
    """No fields."""


class ListTickets(Struct, forbid_unknown_fields=True):
    """Which tickets: a saved view, narrowed by source and company."""

    view: View = "open"
    source: Source | None = None
    company: Id | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListDirectory(Struct, forbid_unknown_fields=True):
    """Which companies: `find` searches names and account numbers."""

    find: Line | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListContacts(Struct, forbid_unknown_fields=True):
    """Which contacts: those of a company; `find` searches names, email addresses and phone numbers."""

    company: Annotated[str, Meta(max_length=200, description="The company's name.")] | None = None
    find: Line | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListTasks(Struct, forbid_unknown_fields=True):
    """Which tasks: those of a person and their teams, done or open, due before a time."""

    assignee: Address | None = None
    done: bool = False
    due_before: Annotated[datetime, Meta(tz=True)] | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListItems(Struct, forbid_unknown_fields=True):
    """Which inbound items."""

    state: Literal["waiting", "claimed", "settled"] | None = None
    disposition: Annotated[str, Meta(max_length=40)] | None = None
    source: Annotated[str, Meta(max_length=300)] | None = None
    limit: Limit = 50
    after: Cursor | None = None


class NewTicket(Struct, forbid_unknown_fields=True):
    """A ticket entered by hand, without attachments."""

    description: Annotated[str, Meta(min_length=1, max_length=100_000)]
    email: Annotated[str, Meta(max_length=254)] = ""
    name: Line = ""
    phone: Annotated[str, Meta(max_length=50)] = ""
    company: Line = ""
    owner: Annotated[str, Meta(max_length=254, description="The owner's email address; yours when left out.")] = ""
    contacts: Annotated[list[Annotated[str, Meta(max_length=254)]], Meta(max_length=50)] = []
    category: Line = ""
    issue: Line = ""
    issue_detail: Line = ""
    preferred_contact: Literal["email", "phone"] = "email"
    on_company_timeline: bool = True
    on_contact_timeline: bool = True


class StaffMessage(Struct, forbid_unknown_fields=True):
    """A message to the customer. Fields left out come from the template; `send` false returns a preview."""

    text: Text | None = None
    subject: Annotated[str, Meta(max_length=300)] | None = None
    template: Line | None = None
    values: Annotated[
        dict[str, Text], Meta(max_length=50, description="Values for the template's placeholders, such as `resolution`.")
    ] = {}
    to: Annotated[list[Annotated[str, Meta(max_length=254)]], Meta(max_length=50)] = []
    send: bool = True
    version: Version = UNSET


class Reply(StaffMessage, forbid_unknown_fields=True):
    """A reply to the customer, or a request for the information that the ticket lacks."""

    kind: Literal["reply", "question"] = "reply"


class Note(Struct, forbid_unknown_fields=True):
    """A note that only staff see."""

    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    version: Version = UNSET


class Mark(Struct, forbid_unknown_fields=True):
    """Checks a box of the ticket; only the version may be given."""

    version: Version = UNSET


class Assign(Struct, forbid_unknown_fields=True):
    """A new owner; you when `to` is left out."""

    to: Address | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""
    version: Version = UNSET


class Reopen(Struct, forbid_unknown_fields=True):
    """Reopens a completed ticket."""

    reason: Reason
    version: Version = UNSET


class Move(Struct, forbid_unknown_fields=True):
    """Moves a ticket to a stage that the rules do not lead to."""

    stage: Literal[1, 4, 5, 6]
    reason: Reason
    version: Version = UNSET


class NewTask(Struct, forbid_unknown_fields=True):
    """A task for `to`; for you when it is left out."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    due_at: Annotated[datetime, Meta(tz=True)]
    to: Address | None = None


class HandOver(Struct, forbid_unknown_fields=True):
    """A new assignee of a task; you when `to` is left out."""

    to: Address | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class ReopenTask(Struct, forbid_unknown_fields=True):
    """Reopens a task that was marked as done."""

    reason: Reason


class Postpone(Struct, forbid_unknown_fields=True):
    """A later due time for a task."""

    due_at: Annotated[datetime, Meta(tz=True)]
    reason: Reason


# The OpenAPI document published these types under other names, which clients generated from it use.
NoFields.__name__ = "Asked"
StaffMessage.__name__ = "Letter"
