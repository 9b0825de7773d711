"""Response types of the API: the results of handlers are converted to them, and the OpenAPI document describes them."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class TicketRow(Struct):
    """A ticket in a list."""

    number: str
    source: str
    stage: str
    owner: str | None
    company: str | None
    requester: str | None
    created_at: datetime
    owner_away: bool


class Milestone(Struct):
    """A checked box: when, and by whom."""

    at: datetime
    by: str


class Reason(Struct):
    """A reason: `code` never changes, `text` is a sentence for people."""

    code: str
    text: str


class Entry(Struct):
    """An entry of a timeline."""

    id: int
    at: datetime
    kind: str
    actor: str
    title: str
    body: str
    quoted: str
    signature: str
    reasons: list[Reason]
    item: int | None


class Related(Struct):
    """A link to another ticket."""

    number: str
    kind: str
    from_here: bool
    reason: str
    settled_at: datetime | None


class Participant(Struct):
    """A contact of a ticket."""

    email: str | None
    name: str
    phone: str
    role: str
    on_timeline: bool


class File(Struct):
    """An attachment of a ticket."""

    name: str
    type: str
    size: int
    sha256: str
    inline: bool


class TicketTask(Struct):
    """A follow-up task as its ticket shows it."""

    id: int
    title: str
    kind: str
    reason: str
    assignee: str | None
    due_at: datetime
    done_at: datetime | None


class Ticket(TicketRow):
    """A ticket with everything that belongs to it."""

    version: int
    name: str
    pipeline: str
    type: str
    category: str
    issue: str
    issue_detail: str
    preferred_contact: str
    description: str
    link: str | None
    missing: list[str]
    sender_verified: bool | None
    creation_notice: str
    follow_up_sent: Milestone | None
    resolution: Milestone | None
    recap_sent: Milestone | None
    reminder_due_at: datetime | None
    escalation_due_at: datetime | None
    merged_into: str | None
    links: list[Related]
    contacts: list[Participant]
    timeline: list[Entry]
    attachments: list[File]
    tasks: list[TicketTask]


class StaffMessageResult(Struct):
    """A message as it was sent (`entry` is its id on the timeline), or a preview with the problems that prevent sending."""

    number: str
    subject: str
    text: str
    to: list[str]
    problems: list[str]
    entry: int | None


class Company(Struct):
    """A medical practice; `manager` and `consultant` are email addresses of staff."""

    id: int
    name: str
    account_number: str | None
    active: bool
    manager: str | None
    consultant: str | None
    telemedicine: bool
    domains: list[str]


class Contact(Struct):
    """A person who writes for a practice."""

    id: int
    email: str | None
    name: str
    phone: str
    preferred_contact: str
    company: str | None
    is_admin: bool
    active: bool


class Task(Struct):
    """A follow-up task."""

    id: int
    ticket: str
    kind: str
    title: str
    reason: str
    assignee: str | None
    due_at: datetime
    done_at: datetime | None
    overdue: bool


class Item(Struct):
    """An inbound item and its outcome."""

    id: int
    kind: str
    source: str
    received_at: datetime
    size: int
    state: str
    disposition: str | None
    reason_code: str | None
    reason: str | None
    attempts: int
    losses: int
    ticket: str | None
    parent: int | None
    settled_at: datetime | None


class Seen(Struct):
    """A place an item was received from."""

    source: str
    place: str
    at: datetime


class ItemShown(Item):
    """An inbound item with every place it was received from."""

    sha256: str
    seen: list[Seen]


class Tickets(Struct):
    """A page of tickets."""

    items: list[TicketRow]
    next: str | None


class Companies(Struct):
    """A page of companies."""

    items: list[Company]
    next: str | None


class Contacts(Struct):
    """A page of contacts."""

    items: list[Contact]
    next: str | None


class Tasks(Struct):
    """A page of tasks."""

    items: list[Task]
    next: str | None


class Items(Struct):
    """A page of items."""

    items: list[Item]
    next: str | None


# The OpenAPI document published these types under other names, which clients generated from it use.
Milestone.__name__ = "Marked"
Reason.__name__ = "Because"
StaffMessageResult.__name__ = "Written"
