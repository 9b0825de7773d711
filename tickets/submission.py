"""Submission: the only shape in which anything comes in, whatever it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from core.reasons import Reason


class TicketSource(StrEnum):
    """Where a ticket came from (domain.md, Tickets)."""

    EMAIL = "email"
    FORMSTACK = "formstack"
    SECURE_MESSAGE = "secure_message"
    PORTAL = "portal"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class SubmittedFile:
    """One file that came along; its bytes are stored as the blob ``sha256``."""

    name: str
    type: str
    sniffed: str | None
    size: int
    sha256: str
    inline: bool
    content: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """One normalised inbound item.

    ``text`` is what is new in it; ``quoted`` and ``signature`` are the rest of what a person reads, kept a click away.
    ``item_id`` is its ledger row, None for what staff enter by hand. ``email`` is lower-cased; without it nobody can be
    answered. ``missing`` lists in plain words what was left out. ``reasons`` say why this became a ticket. ``silence``, when
    set, is why the requester gets no automatic mail. ``thread_key`` appends later items to the same ticket. ``verified`` is
    whether the sender was authenticated, None when nobody checked. ``automatic`` is what a machine sent; ``thanks``, when set,
    is why a reply is known to say thanks and nothing else: neither opens a completed ticket again. ``autoresponse`` is what a
    machine sent and no list passed on: it joins the ticket whose mail it answers, whoever sent it. What says which ticket it
    belongs to, the strongest first: ``replies_to`` (our signed Message-ID or reply address), ``answers`` (keys of mails it
    answers), ``marker`` (our signed link in its text), ``hint`` (the number in its subject). ``message_key`` is its own key, for
    those that answer it. ``owner_email`` is set for manual tickets only.
    ``original`` is what it is if a member of staff forwarded it.
    """

    source: TicketSource
    received_at: datetime
    subject: str
    text: str
    quoted: str = ""
    signature: str = ""
    item_id: int | None = None
    email: str | None = None
    name: str = ""
    phone: str = ""
    company: str = ""
    account_number: str = ""
    category: str = ""
    issue: str = ""
    issue_detail: str = ""
    preferred_contact: str = "email"
    link: str | None = None
    files: tuple[SubmittedFile, ...] = ()
    missing: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    silence: Reason | None = None
    verified: bool | None = None
    thread_key: str | None = None
    message_key: str | None = None
    message_id: str | None = None
    replies_to: int | None = None
    thanks: Reason | None = None
    answers: tuple[str, ...] = ()
    marker: int | None = None
    subject_tag: int | None = None
    automatic: bool = False
    autoresponse: bool = False
    owner_email: str | None = None
    original: Submission | None = None
    contacts: tuple[str, ...] = ()
    on_company_timeline: bool = True
    on_contact_timeline: bool = True
    details: tuple[tuple[str, str], ...] = field(default=())
