"""Read bounces of servers that send only text.

flufl.bounce knows the formats of two dozen servers; the rules of this module read the others. They apply only to mail that
its headers identify as sent by a mail system, so the mail of a person who writes about a bounce is never read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message

from ingest.parsers.mail.addresses import read_list
from ingest.parsers.mail.headers import Headers

#: Characters read. The report itself is short; the copy of the mail after it may be long.
MAX_REPORT_LENGTH = 50_000
MAX_RECIPIENTS = 50
_COPY = re.compile(
    r"^(?:-{2,}[ \t]*)?(?:below this line is a copy of the message|this is a copy of (?:the|your) message"
    r"|original message|(?:the )?(?:header|text) of (?:the|your) (?:original )?message|message header follows)",
    re.I | re.M,
)
_ADDRESS = r"[^\s<>@:;,()\"']{1,64}@[^\s<>@:;,()\"']{1,255}\.[^\s<>@:;,()\"']{1,63}"
# A line that is only an address, begins with one in angle brackets, or names one after a word and a colon.
_RECIPIENT = re.compile(
    rf"^[ \t>]*(?:[^\W\d_][\w ]{{0,30}}[ \t]*:[ \t]*)?(?:<({_ADDRESS})>(?=[ \t]*(?:[:(]|$))|({_ADDRESS})[ \t]*:?[ \t]*$)", re.M
)
_STATUS = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.])")
_SMTP_CODE = re.compile(r"(?<![\d.])([45])[0-5]\d(?=[ :-])")
_PERMANENT = re.compile(
    r"permanent|(?:user|recipient|address|mailbox) (?:is )?(?:unknown|not found)|unknown (?:user|recipient|address|mailbox)"
    r"|no such (?:user|mailbox|recipient|person)|no mailbox here|does(?: not|n't) exist|unrouteable address"
    r"|unbekannt|inconnu|desconocid|sconosciut|desconhecid|onbekend",
    re.I,
)
_DELAYED = re.compile(
    r"\bdelay(?:ed)?\b|not (?:yet )?been delivered|still being (?:re)?tried|warning: (?:message|could not send)"
    r"|will (?:continue to|keep) try|will be retried|delivery incomplete"
    r"|verzögert|retardée?\b|retrasad|ritardat|atrasad|vertraagd",
    re.I,
)
_GIVEN_UP = re.compile(r"gave up|given up|giving up|could not be delivered|delivery (?:has )?failed|permanent|returned", re.I)
_SUBJECT = re.compile(
    r"undeliver|delivery (?:status notification|has failed|failure|failed)|failure notice|returned mail|returned to sender"
    r"|mail delivery (?:failed|failure|subsystem|system)|could not be delivered|non[- ]?remis|unzustellbar|nicht zugestellt"
    r"|no se pudo entregar|não entregue|impossibile recapitare|mancato recapito|onbestelbaar|kunde inte levereras"
    r"|недоставлен|не доставлен|無法傳遞|无法送达|配信不能|配信できません",
    re.I,
)
_MESSAGE_ID = re.compile(r"^[> \t]*message-id:\s*(<[^<>\s]{1,900}>)", re.I | re.M)


@dataclass(frozen=True, slots=True)
class TextReport:
    """What a text says about a mail that was not delivered, or not yet."""

    recipients: tuple[str, ...]
    status: tuple[str, ...]
    permanent: bool
    is_delay: bool
    message_id: str | None


def is_bounce_subject(subject: str) -> bool:
    """Whether a subject is one that mail systems use for a returned mail."""
    return _SUBJECT.search(subject) is not None


def read_text_report(headers: Headers, body: str, subject: str) -> TextReport:
    """Return the recipients, status codes and original Message-ID that the text names. Linear in the length; never raises.

    At most MAX_REPORT_LENGTH characters and MAX_RECIPIENTS recipients are read.
    """
    text = body[:MAX_REPORT_LENGTH]
    copy = _COPY.search(text)
    own_text = text[: copy.start()] if copy else text
    status = tuple(dict.fromkeys(_STATUS.findall(own_text)))
    is_late = _DELAYED.search(f"{subject}\n{own_text}") is not None and _GIVEN_UP.search(own_text) is None
    named = _MESSAGE_ID.search(text)
    return TextReport(
        recipients=_read_recipients(headers, own_text, subject),
        status=status,
        permanent=_is_permanent(own_text, status),
        is_delay=is_late and not any(code.startswith("5") for code in status),
        message_id=named[1] if named else None,
    )


def _read_recipients(headers: Headers, own_text: str, subject: str) -> tuple[str, ...]:
    named = read_list(headers.read_raw_text("x-failed-recipients"))
    if named:
        return named[:MAX_RECIPIENTS]
    known = _read_known_formats(headers, own_text, subject)
    if known:
        return known[:MAX_RECIPIENTS]
    found = (first or second for first, second in _RECIPIENT.findall(own_text))
    return tuple(dict.fromkeys(address.lower() for address in found))[:MAX_RECIPIENTS]


def _read_known_formats(headers: Headers, own_text: str, subject: str) -> tuple[str, ...]:
    """Return the recipients that flufl.bounce finds. It takes a message, which here holds only the text of the report."""
    # Imported here, because one mail in thousands needs it.
    from flufl.bounce import all_failures

    message = Message()
    message["From"] = " ".join(headers.read_raw_text("from"))[:300].encode("ascii", "replace").decode()
    message["Subject"] = subject[:300].encode("ascii", "replace").decode()
    message["Content-Type"] = "text/plain"
    message.set_payload(own_text.encode("ascii", "replace").decode())
    try:
        temporary, permanent = all_failures(message)
    except (ValueError, LookupError, TypeError, AttributeError):
        # A text that is almost in a known format.
        return ()
    return tuple(sorted(_decode_addresses({*temporary, *permanent})))


def _decode_addresses(found: Iterable[bytes]) -> set[str]:
    texts = (address.decode("ascii", "replace").strip().strip("<>").lower() for address in found)
    return {text for text in texts if re.fullmatch(_ADDRESS, text)}


def _is_permanent(own_text: str, status: tuple[str, ...]) -> bool:
    """Decide by the enhanced codes (RFC 3463), else by the reply codes (RFC 5321 §4.2.1), else by the words."""
    codes = [code[0] for code in status] or _SMTP_CODE.findall(own_text)
    return "5" in codes if codes else _PERMANENT.search(own_text) is not None
