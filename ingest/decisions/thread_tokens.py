"""Thread tokens: what a mail carries that names the ticket it belongs to (mail-rules.md, Which ticket). Pure.

:mod:`tickets.threads` decides whether the sender may use them.
"""

from __future__ import annotations

import re
from hashlib import sha256

from ingest.decisions.mail_rules import MailRules
from ingest.parsers.types import ParsedMail
from tickets.numbers import parse_number

#: A Message-ID or bounce address of ours names ticket and delivery, a reply address or a link the ticket alone.
_TICKET_AND_DELIVERY = re.compile(r"t([1-9][0-9]{0,17})\.d[0-9]+\Z")
_TICKET = re.compile(r"t([1-9][0-9]{0,17})\Z")
#: Our own link in a quoted body; it survives relays that rewrite Message-IDs.
_LINK = re.compile(r"/care/cases/(t[1-9][0-9]{0,17}\.[a-z2-7]{26})(?![a-z0-9])", re.I)
_TAG = re.compile(r"\[(BS-?[0-9]{1,18})\]|\b(BS-[0-9]{6,18})\b", re.I)
_LOOKS_SIGNED = re.compile(r"<t[0-9]+\.d[0-9]+\.[a-z2-7]{26}@", re.I)
#: A long thread is looked up by its last ids, which are the nearest mails.
MAX_ANSWERED_IDS = 12
MAX_CHECKED_LINKS = 5


def answered_ticket(mail: ParsedMail, rules: MailRules) -> int | None:
    """Return the id of the ticket that the mail answers by our signature, None when it carries none.

    Looks for our signed Message-ID in In-Reply-To, then in References from last to first, then for our signed address.
    """
    for value in _answered_ids(mail):
        match = _TICKET_AND_DELIVERY.match(rules.verify_message_id(value) or "")
        if match:
            return int(match[1])
    for address in (*mail.to, *mail.cc, *mail.delivered_to):
        if "+" not in address:
            continue
        # Automatic replies go to the envelope sender, and many of them name no mail (RFC 3834 §4).
        match = _TICKET.match(rules.verify_reply_address(address) or "") or _TICKET_AND_DELIVERY.match(
            rules.verify_envelope_sender(address) or ""
        )
        if match:
            return int(match[1])
    return None


def linked_ticket(mail: ParsedMail, rules: MailRules) -> int | None:
    """Return the id of the ticket whose signed link is in the body, None when there is none."""
    if "/care/cases/t" not in mail.body:
        return None
    for found in _LINK.findall(mail.body)[:MAX_CHECKED_LINKS]:
        match = _TICKET.match(rules.verify_link(found) or "")
        if match:
            return int(match[1])
    return None


def tagged_ticket(mail: ParsedMail) -> int | None:
    """Return the id of the ticket whose number is in the subject: unsigned, so it is a hint and no proof."""
    match = _TAG.search(mail.subject)
    return parse_number(match[1] or match[2]) if match else None


def answered_keys(mail: ParsedMail) -> tuple[str, ...]:
    """Return the keys of the mails it answers, the nearest first, at most :data:`MAX_ANSWERED_IDS`."""
    return tuple(dict.fromkeys(mail_key(value) for value in _answered_ids(mail)[:MAX_ANSWERED_IDS]))


def mail_key(message_id: str) -> str:
    """Return the thread key of a mail: its Message-ID of any length, hashed to one length."""
    return f"mail:{sha256(message_id.encode()).hexdigest()[:32]}"


def has_forged_token(mail: ParsedMail, rules: MailRules) -> bool:
    """Return whether it answers a Message-ID that looks like ours and carries a wrong signature."""
    own = f"@{rules.own_domain}>"
    return any(
        value.lower().endswith(own) and _LOOKS_SIGNED.match(value) and rules.verify_message_id(value) is None
        for value in _answered_ids(mail)
    )


def _answered_ids(mail: ParsedMail) -> list[str]:
    return [value for value in (mail.in_reply_to, *mail.also_in_reply_to, *reversed(mail.references)) if value]
