"""What the API takes, as types: requests are read by them, and the OpenAPI document shows them.

An unknown field of a request is refused: a word that is misspelt would otherwise be a wish that nobody hears.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Limit = Annotated[int, Meta(ge=1, le=200, description="How many at most.")]
Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Cursor = Annotated[str, Meta(max_length=200, description="Where the list goes on: `next` of the page before.")]
Address = Annotated[str, Meta(max_length=254, description="An email address on the staff list.")]
Line = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=100_000)]
Reason = Annotated[str, Meta(min_length=1, max_length=1_000, description="Why; it stays on the ticket's timeline.")]
Version = Annotated[
    int | UnsetType, Meta(description="The version it was read in; refused with 409 when somebody changed it since.")
]
View = Literal["unassigned", "open", "mine", "today", "overdue", "audit", "matches", "completed", "all"]
Source = Literal["email", "formstack", "secure_message", "portal", "phone"]


class Asked(Struct, forbid_unknown_fields=True):
    """Nothing is asked for beside the address."""


class ListTickets(Struct, forbid_unknown_fields=True):
    """Which tickets: a saved view, and what narrows it."""

    view: View = "open"
    source: Source | None = None
    company: Id | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListDirectory(Struct, forbid_unknown_fields=True):
    """Which companies: `find` in names and account numbers."""

    find: Line | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListContacts(Struct, forbid_unknown_fields=True):
    """Which contacts: of a company, or `find` in names, addresses and telephone numbers."""

    company: Annotated[str, Meta(max_length=200, description="The company's name.")] | None = None
    find: Line | None = None
    limit: Limit = 50
    after: Cursor | None = None


class ListTasks(Struct, forbid_unknown_fields=True):
    """Which tasks: those of a person and their teams, done or open, due before a moment."""

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
    """The form of a ticket entered by hand (domain.md, Tickets), without files."""

    description: Annotated[str, Meta(min_length=1, max_length=100_000)]
    email: Annotated[str, Meta(max_length=254)] = ""
    name: Line = ""
    phone: Annotated[str, Meta(max_length=50)] = ""
    company: Line = ""
    owner: Annotated[str, Meta(max_length=254, description="Who owns it; you, when left out.")] = ""
    contacts: Annotated[list[Annotated[str, Meta(max_length=254)]], Meta(max_length=50)] = []
    category: Line = ""
    issue: Line = ""
    issue_detail: Line = ""
    preferred_contact: Literal["email", "phone"] = "email"
    on_company_timeline: bool = True
    on_contact_timeline: bool = True


class Letter(Struct, forbid_unknown_fields=True):
    """What is left out comes from the template; ``send`` false shows what would be sent."""

    text: Text | None = None
    subject: Annotated[str, Meta(max_length=300)] | None = None
    template: Line | None = None
    values: Annotated[dict[str, Text], Meta(max_length=50, description="What fills placeholders, such as `resolution`.")] = {}
    to: Annotated[list[Annotated[str, Meta(max_length=254)]], Meta(max_length=50)] = []
    send: bool = True
    version: Version = UNSET


class Reply(Letter, forbid_unknown_fields=True):
    """A letter to the customer, or a question for what the ticket says is missing."""

    kind: Literal["reply", "question"] = "reply"


class Note(Struct, forbid_unknown_fields=True):
    """A note for staff."""

    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    version: Version = UNSET


class Mark(Struct, forbid_unknown_fields=True):
    """A mark needs no more than that it is set."""

    version: Version = UNSET


class Assign(Struct, forbid_unknown_fields=True):
    """A new owner; you, when `to` is left out."""

    to: Address | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""
    version: Version = UNSET


class Reopen(Struct, forbid_unknown_fields=True):
    """A completed ticket is to go on."""

    reason: Reason
    version: Version = UNSET


class Move(Struct, forbid_unknown_fields=True):
    """A move that the table of stages does not allow."""

    stage: Literal[1, 4, 5, 6]
    reason: Reason
    version: Version = UNSET


class NewTask(Struct, forbid_unknown_fields=True):
    """A task for `to`, or for you."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    due_at: Annotated[datetime, Meta(tz=True)]
    to: Address | None = None


class HandOver(Struct, forbid_unknown_fields=True):
    """Somebody else for a task; you, when `to` is left out."""

    to: Address | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class ReopenTask(Struct, forbid_unknown_fields=True):
    """A task is not done after all."""

    reason: Reason


class Postpone(Struct, forbid_unknown_fields=True):
    """Another moment for a task."""

    due_at: Annotated[datetime, Meta(tz=True)]
    reason: Reason
