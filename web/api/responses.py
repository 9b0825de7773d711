"""What the API gives, as types: answers are made of them, and the OpenAPI document shows them."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class TicketRow(Struct):
    """A ticket as it is listed (interfaces.md)."""

    number: str
    source: str
    stage: str
    owner: str | None
    company: str | None
    requester: str | None
    created_at: datetime
    owner_away: bool


class Marked(Struct):
    """A mark: since when, and by whom."""

    at: datetime
    by: str


class Because(Struct):
    """A reason: a word that never changes, and a sentence."""

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
    reasons: list[Because]
    item: int | None


class Related(Struct):
    """Another ticket that has to do with it."""

    number: str
    kind: str
    from_here: bool
    reason: str
    settled_at: datetime | None


class Participant(Struct):
    """Somebody of a ticket."""

    email: str | None
    name: str
    phone: str
    role: str
    on_timeline: bool


class File(Struct):
    """A file of a ticket."""

    name: str
    type: str
    size: int
    sha256: str
    inline: bool


class TicketTask(Struct):
    """A task as its ticket shows it."""

    id: int
    title: str
    kind: str
    reason: str
    assignee: str | None
    due_at: datetime
    done_at: datetime | None


class Ticket(TicketRow):
    """A ticket whole."""

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
    follow_up_sent: Marked | None
    resolution: Marked | None
    recap_sent: Marked | None
    reminder_due_at: datetime | None
    escalation_due_at: datetime | None
    merged_into: str | None
    links: list[Related]
    contacts: list[Participant]
    timeline: list[Entry]
    attachments: list[File]
    tasks: list[TicketTask]


class Written(Struct):
    """A letter as it was sent (``entry`` is its place on the timeline), or as it would be and what keeps it from that."""

    number: str
    subject: str
    text: str
    to: list[str]
    problems: list[str]
    entry: int | None


class Company(Struct):
    """A practice that is served; `manager` and `consultant` are addresses of staff."""

    id: int
    name: str
    account_number: str | None
    active: bool
    manager: str | None
    consultant: str | None
    telemedicine: bool
    domains: list[str]


class Contact(Struct):
    """Somebody who writes for a practice."""

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
    """Something that arrived, and what became of it."""

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
    """Where an item was seen."""

    source: str
    place: str
    at: datetime


class ItemShown(Item):
    """An item, and where it was seen."""

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
