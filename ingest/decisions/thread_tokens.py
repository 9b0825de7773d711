"""What a mail carries that says which ticket it belongs to (mail-rules.md, Which ticket). Pure.

Whether its sender may use it is decided in :mod:`tickets.threads`.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from ingest.parsers.types import ParsedMail
from tickets.numbers import parse_number

if TYPE_CHECKING:
    from ingest.decisions.mail_rules import MailRules

#: The token of a notice's Message-ID: ticket and delivery; of an address or a link: the ticket.
_NOTICE = re.compile(r"t([1-9][0-9]{0,17})\.d[0-9]+\Z")
_TICKET = re.compile(r"t([1-9][0-9]{0,17})\Z")
#: Our own link in a quoted body is the marker line that survives relays which rewrite ids.
_LINK = re.compile(r"/care/cases/(t[1-9][0-9]{0,17}\.[a-z2-7]{26})(?![a-z0-9])", re.I)
_TAG = re.compile(r"\[(BS-?[0-9]{1,18})\]|\b(BS-[0-9]{6,18})\b", re.I)
_LOOKS_SIGNED = re.compile(r"<t[0-9]+\.d[0-9]+\.[a-z2-7]{26}@", re.I)
#: The last ids of a long thread are the near ones.
MAX_ANSWERS = 12
MAX_LINKS = 5


def answered_ticket(mail: ParsedMail, rules: MailRules) -> int | None:
    """The ticket whose signed Message-ID is in In-Reply-To, else in References from last to first; else by the address."""
    for value in _answered(mail):
        match = _NOTICE.match(rules.own_token(value) or "")
        if match:
            return int(match[1])
    for address in (*mail.to, *mail.cc, *mail.delivered_to):
        if "+" not in address:
            continue
        # Machines answer to the envelope's sender, and many of them name no mail (RFC 3834 §4).
        match = _TICKET.match(rules.own_reply(address) or "") or _NOTICE.match(rules.own_envelope(address) or "")
        if match:
            return int(match[1])
    return None


def marked_ticket(mail: ParsedMail, rules: MailRules) -> int | None:
    """The ticket whose signed link stands in the body."""
    if "/care/cases/t" not in mail.body:
        return None
    for found in _LINK.findall(mail.body)[:MAX_LINKS]:
        match = _TICKET.match(rules.own_link(found) or "")
        if match:
            return int(match[1])
    return None


def tagged_ticket(mail: ParsedMail) -> int | None:
    """The ticket that the subject names, which anybody can write: a hint and no more."""
    match = _TAG.search(mail.subject)
    return parse_number(match[1] or match[2]) if match else None


def answered_keys(mail: ParsedMail) -> tuple[str, ...]:
    """Keys of the mails it answers, the nearest first."""
    return tuple(dict.fromkeys(mail_key(value) for value in _answered(mail)[:MAX_ANSWERS]))


def mail_key(message_id: str) -> str:
    """The thread key of a mail by its Message-ID; the same for the same id however long it is."""
    return f"mail:{sha256(message_id.encode()).hexdigest()[:32]}"


def is_forged(mail: ParsedMail, rules: MailRules) -> bool:
    """Whether it answers something that looks like a notice of ours and carries a wrong signature."""
    own = f"@{rules.own_domain}>"
    return any(
        value.lower().endswith(own) and _LOOKS_SIGNED.match(value) and rules.own_token(value) is None for value in _answered(mail)
    )


def _answered(mail: ParsedMail) -> list[str]:
    return [value for value in (mail.in_reply_to, *mail.also_in_reply_to, *reversed(mail.references)) if value]
