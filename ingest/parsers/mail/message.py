"""Parse one message from bytes (docs/decisions/mail-parser-reads-the-head.md).

mail-parser reads the head and the standard library the MIME structure. What both of them lose is read from the bytes. Nothing
here raises. The limits are checked on the raw bytes before mail-parser sees any (security.md, rule 1). ``notes`` holds
snake_case codes: the charset used where it differs from the declared one, defects, and the limits that were reached.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime

from mailparser import MailParser
from msgspec.structs import replace

from ingest.parsers.bounce.report import has_status, read_report
from ingest.parsers.forward.original import build_attached_forward, find_inline_forward, is_attached_forward
from ingest.parsers.mail.addresses import SenderAddress, read_from_local_part, read_list, read_lists, read_sender
from ingest.parsers.mail.attachments import is_message, make_attachment, split_leaves
from ingest.parsers.mail.authentication import read_authentication
from ingest.parsers.mail.automatic import detect_automatic
from ingest.parsers.mail.body import Body, build_body, split_body
from ingest.parsers.mail.headers import Headers, clean_text, read_block, read_ids
from ingest.parsers.mail.message_file import find_first_header, repair_file
from ingest.parsers.mail.mime_outline import Outline, build_outline, restore_leaves
from ingest.parsers.mail.mime_tree import build_tree
from ingest.parsers.mail.parts import Leaf, collect_leaves
from ingest.parsers.mail.wrapped_parts import unwrap_leaves
from ingest.parsers.types import Forward, ParsedAttachment, ParsedMail, ParseOptions, Refusal

MAX_MESSAGE_BYTES = 25_000_000

# mail-parser logs the texts of headers, and the text of a message must not reach a log.
logging.getLogger("mailparser").setLevel(logging.CRITICAL + 1)

_EMPTY = Refusal("empty", "The file is empty.")
_NOT_A_MAIL = Refusal("not_a_mail", "This is not a mail message: it does not begin with mail headers.")
_FAILED = Refusal("unreadable_mail", "The message could not be read.")
_DEFECTS = {
    "InvalidBase64PaddingDefect": "base64_defect",
    "InvalidBase64CharactersDefect": "base64_defect",
    "InvalidBase64LengthDefect": "base64_defect",
    "MultipartInvariantViolationDefect": "boundary_unused",
    "NoBoundaryInMultipartDefect": "boundary_missing",
    "MimeHeaderDefect": "part_header_charset",
    "DateHeaderDefect": "date_defect",
}
_PART_FIELDS = frozenset({"content-type", "content-disposition", "content-id", "content-transfer-encoding"})


def parse_mail(data: bytes, options: ParseOptions) -> ParsedMail | Refusal:
    """Parse one message and return its values. Never raises except MemoryError.

    Returns a :class:`Refusal` with the code ``empty``, ``not_a_mail`` or, after an unforeseen error, ``unreadable_mail``.
    """
    if not data.strip():
        return _EMPTY
    data, file_notes = repair_file(data)
    try:
        return _parse(data, options, file_notes)
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        # The contract is "never raises": an unforeseen defect costs one quarantined message, not a parser process.
        return _FAILED


def _parse(data: bytes, options: ParseOptions, file_notes: list[str]) -> ParsedMail | Refusal:
    headers, body_start = read_block(data[:MAX_MESSAGE_BYTES] if len(data) > MAX_MESSAGE_BYTES else data, find_first_header(data))
    headers.notes += file_notes
    if not headers.looks_like_mail:
        return _NOT_A_MAIL
    if len(data) > MAX_MESSAGE_BYTES:
        headers.notes.append("message_cut")
        data = data[:MAX_MESSAGE_BYTES]
    outline = build_outline(data, headers, body_start)
    headers.notes += outline.notes
    message, date = _read_structure(outline, headers)
    leaves = unwrap_leaves(collect_leaves(message, outline), headers.notes, _read_entity)
    body_leaves, file_leaves = split_leaves(leaves)
    body = build_body(body_leaves, headers.notes, html_text=options.html_text)
    attachments = tuple(make_attachment(leaf) for leaf in file_leaves)
    mail = _build_mail(headers, date, body, attachments, leaves)
    forward = _find_forward(mail, options)
    if forward is not None:
        mail = replace(mail, forward=forward)
    if not options.authserv_id:
        return mail
    return replace(mail, authentication=read_authentication(mail.authentication_results, options.authserv_id, mail.from_addr))


def _find_forward(mail: ParsedMail, options: ParseOptions) -> Forward | None:
    """Return the original of a forwarded mail. A report of a mail system is no forward.

    An attached original is parsed; the originals attached to that original are not.
    """
    if mail.is_bounce or mail.is_mdn or mail.is_feedback_report:
        return None
    found = find_inline_forward(mail.subject, mail.body)
    messages = [] if found is not None else [one for one in mail.attachments if is_message(one)]
    if found is not None or not is_attached_forward(mail.subject, mail.body, len(messages)) or options.attached:
        return found
    original = parse_mail(messages[0].content, replace(options, attached=True, html_text=False))
    return build_attached_forward(original, mail.body) if isinstance(original, ParsedMail) else None


def _read_entity(data: bytes) -> list[Leaf]:
    """Return the leaves of a MIME entity that was wrapped in a part."""
    headers, body_start = read_block(data)
    outline = build_outline(data, headers, body_start)
    return collect_leaves(_read_structure(outline, headers)[0], outline)


def _read_structure(outline: Outline, headers: Headers) -> tuple[Message, datetime | None]:
    """Return the parsed tree and the date. A message that neither library survives becomes one text body."""
    date = None
    try:
        message = build_tree(outline.skeleton)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError):
        headers.notes.append("structure_unreadable")
        return _make_text_message(outline), _read_date(headers)
    try:
        parser = _HeadParser(_make_head(message))
        defects = parser.defects_categories | _collect_defects(message)
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        headers.notes.append("mail_parser_defect")
    else:
        date = parser.date
        headers.notes += [_DEFECTS[name] for name in sorted(defects) if name in _DEFECTS]
    date = date.replace(tzinfo=UTC) if date and date.tzinfo is None else date or _read_date(headers)
    if date is not None and not 1980 <= date.year < 2100:
        headers.notes.append("date_absurd")
    return message, date


# mail-parser has no type annotations.
class _HeadParser(MailParser):  # type: ignore[misc]
    """mail-parser for a head only: it looks for no parts and skips its two tables of all fields."""

    def parse(self) -> _HeadParser:
        self._reset()
        return self


def _make_head(message: Message) -> Message:
    """Return the fields about the message without those about its body: mail-parser would decode each part, unused."""
    head = Message()
    for name, value in message.raw_items():
        if not name.lower().startswith("content-"):
            head.set_raw(name, value)
    head.set_payload("")
    return head


def _collect_defects(message: Message) -> set[str]:
    """Return the class names of the defects of all parts.

    A part field with bytes that are not UTF-8 adds ``MimeHeaderDefect``, as mail-parser does.
    """
    found: set[str] = set()
    for part in message.walk():
        found.update(type(defect).__name__ for defect in part.defects)
        if not all(_is_utf8(str(value)) for name, value in part.raw_items() if name.lower() in _PART_FIELDS):
            found.add("MimeHeaderDefect")
    return found


def _is_utf8(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _make_text_message(outline: Outline) -> Message:
    message = Message()
    text = restore_leaves(outline, outline.skeleton.partition(b"\n\n")[2])
    message.set_payload(text.decode("ascii", "surrogateescape"))
    return message


def _read_date(headers: Headers) -> datetime | None:
    """A date mail-parser does not take (no zone, other order), as UTC."""
    for text in headers.read_raw_text("date")[:1]:
        try:
            date = parsedate_to_datetime(text[:200])
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            headers.notes.append("date_unreadable")
    return None


def _build_mail(
    headers: Headers, date: datetime | None, body: Body, attachments: tuple[ParsedAttachment, ...], leaves: Sequence[Leaf]
) -> ParsedMail:
    sender = read_sender(headers)
    subject = headers.read_text("subject")
    if len(headers.read_all("subject")) > 1:
        headers.notes.append("subject_repeated")
    to, cc, reply_to, *delivered = read_lists(headers, "to", "cc", "reply-to", "delivered-to", "x-original-to", "envelope-to")
    automatic = detect_automatic(headers, read_from_local_part(headers), subject, [leaf.type for leaf in leaves])
    report = read_report(headers, leaves, body.text, subject, automatic)
    message_id, answered = next(iter(_read_message_ids(headers, "message-id")), None), _read_message_ids(headers, "in-reply-to")
    parts = split_body(body, subject)
    return ParsedMail(
        from_addr=sender.address,
        from_name=sender.name,
        from_problem=sender.problem,
        reply_to=reply_to,
        to=to,
        cc=cc,
        delivered_to=tuple(dict.fromkeys(address for found in delivered for address in found)),
        return_path=_read_return_path(headers),
        subject=subject,
        date=date,
        message_id=message_id,
        in_reply_to=next(iter(answered), None),
        also_in_reply_to=answered[1:],
        references=_read_message_ids(headers, "references"),
        body=body.text,
        reply=parts.reply,
        quoted=parts.quoted,
        signature=parts.signature,
        html_text=body.html_text,
        has_html=body.has_html,
        attachments=attachments,
        automatic=automatic.reasons,
        is_auto=automatic.is_auto,
        is_bounce=report.kind == "bounce" if report else automatic.is_bounce,
        is_dsn=automatic.is_dsn or (automatic.is_auto and has_status(leaves)),
        is_list=automatic.is_list,
        is_feedback_report=automatic.is_feedback_report,
        is_mdn=automatic.is_mdn,
        must_not_autoreply=automatic.must_not_autoreply,
        x_loop=_read_clean_values(headers, "x-loop"),
        authentication_results=_read_clean_values(headers, "authentication-results"),
        fingerprint=_compute_fingerprint(headers, sender, subject, body, attachments),
        notes=tuple(dict.fromkeys(headers.notes)),
        report=report,
    )


def _read_message_ids(headers: Headers, name: str) -> tuple[str, ...]:
    ids = read_ids(headers, name)
    if not ids and headers.read_first(name):
        headers.notes.append(f"{name.replace('-', '_')}_odd")
    return ids


def _read_return_path(headers: Headers) -> str | None:
    """Return the envelope sender that our own server wrote: the topmost Return-Path.

    "" is the null path, None means that there is no such field.
    """
    for value in headers.read_raw_text("return-path")[:1]:
        if "".join(value.split()) == "<>":
            return ""
        return next(iter(read_list([value])), None)
    return None


def _read_clean_values(headers: Headers, name: str) -> tuple[str, ...]:
    return tuple(clean_text(value) for value in headers.read_raw_text(name))


def _compute_fingerprint(
    headers: Headers, sender: SenderAddress, subject: str, body: Body, attachments: Iterable[ParsedAttachment]
) -> str:
    """Return a SHA-256 over what the author made. Each piece is hashed with its length, so that no two mails run together."""
    author = sender.address or clean_text(" ".join(headers.read_raw_text("from")))
    date = " ".join(headers.read_text("date").split())
    text = "\n".join(line.rstrip() for line in body.text.splitlines()).strip()
    digest = hashlib.sha256()
    for piece in (author, date, subject, text, *(attachment.sha256 for attachment in attachments)):
        raw = piece.encode("utf-8", "replace")
        digest.update(b"%d:" % len(raw))
        digest.update(raw)
    return digest.hexdigest()
