"""A submission: the one form in which every inbound item reaches intake, of any source."""

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
    """One file of a submission; its bytes are stored as the blob ``sha256``."""

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

    - ``text`` is what is new in it; ``quoted`` and ``signature`` are the rest that a person may read.
    - ``item_id`` is its ledger row, None for a ticket that staff enter by hand.
    - ``email`` is in lower case, None when the sender has no address.
    - ``missing`` names in plain words what was left out; ``reasons`` say why the item became a ticket.
    - ``silence``, when set, is why the requester gets no automatic mail.
    - ``verified`` says whether the sender was authenticated, None when that was not checked.
    - ``automatic``: a machine sent it. ``thanks``, when set, is why a reply says thanks and nothing else. Neither reopens a
      completed ticket.
    - ``autoresponse``: a machine sent it and no mailing list passed it on. It is added to the ticket whose mail it answers, from
      any sender.
    - Which ticket it belongs to, the strongest evidence first: ``replies_to`` (our signed Message-ID or reply address),
      ``answers`` (keys of the mails it answers), ``quoted_ticket_id`` (our signed link in its text), ``subject_tag`` (the number
      in its subject). ``thread_key`` is that of a secure-message thread, ``message_key`` its own, for later answers to it.
    - ``owner_email`` is set for tickets entered by hand only.
    - ``original`` is the forwarded message, which counts instead if a member of staff forwarded it.
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
    quoted_ticket_id: int | None = None
    subject_tag: int | None = None
    automatic: bool = False
    autoresponse: bool = False
    owner_email: str | None = None
    original: Submission | None = None
    contacts: tuple[str, ...] = ()
    on_company_timeline: bool = True
    on_contact_timeline: bool = True
    details: tuple[tuple[str, str], ...] = field(default=())
