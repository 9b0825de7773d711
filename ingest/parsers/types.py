"""The shapes a parser gives back: plain frozen values that cross the process boundary as MessagePack.

A parser takes bytes and options and returns one of these; it never raises on bad input (it returns a
:class:`Refusal` or says what it had to do in ``notes``) and it never touches database, network or settings.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Refusal(Struct, frozen=True, tag="refusal"):
    """The input cannot be taken: ``code`` for programs (snake_case noun), ``text`` a sentence for people."""

    code: str
    text: str


class ParsedAttachment(Struct, frozen=True):
    """One file of a message. ``size`` in bytes; ``type`` is the declared media type, ``sniffed`` what the bytes say."""

    name: str
    type: str
    sniffed: str | None
    size: int
    sha256: str
    inline: bool
    content_id: str | None
    content: bytes


class ParsedReport(Struct, frozen=True):
    """What a report says of a mail that was sent.

    ``kind`` is ``bounce`` (it did not arrive), ``delay``, ``delivery`` (it arrived), ``complaint``, ``feedback`` (any other)
    or ``receipt``. ``status`` holds enhanced codes (RFC 3463), ``action`` the words of RFC 3464, the feedback's type or the
    receipt's disposition. ``message_id`` is the one of the mail it is about.
    """

    kind: str
    recipients: tuple[str, ...]
    status: tuple[str, ...]
    action: tuple[str, ...]
    permanent: bool
    message_id: str | None


class Authentication(Struct, frozen=True):
    """Whether our own mail server vouches for the sender, by which method (``dmarc``, ``dkim``, ``spf``), and in words."""

    passed: bool
    method: str
    text: str


class Forward(Struct, frozen=True):
    """The original of a forwarded mail. ``kind`` is ``inline`` or ``attached``; ``date`` as it stands in a text, else ISO 8601.

    ``message`` is what the forwarder wrote, ``body`` what was forwarded; ``files`` are those of an attached original.
    """

    kind: str
    from_addr: str | None
    from_name: str | None
    subject: str
    date: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...]
    body: str
    message: str
    files: tuple[ParsedAttachment, ...] = ()


class ParsedMail(Struct, frozen=True, tag="mail"):
    """One message, decoded. Addresses are lower-cased plain ``local@domain``; missing values are None or empty.

    ``from_addr`` is set only when From holds exactly one plain mailbox (security.md, rule 3); otherwise
    ``from_problem`` says why not. ``body`` is all a person reads, quotes included; ``reply``, ``quoted`` and
    ``signature`` are its parts (:mod:`ingest.parsers.reply.split`), "" for what is not there. ``automatic`` holds reason
    codes, see :mod:`ingest.parsers.mail.automatic`. ``fingerprint`` is a SHA-256 over From, Date, Subject, body and
    attachments, without any trace header, and is the same for two deliveries of one mail. ``report`` is set for what mail
    systems report; ``authentication`` when the options name an ``authserv_id``. In-Reply-To can name several mails (RFC 5322
    §3.6.4): those after the first are in ``also_in_reply_to``.
    """

    from_addr: str | None
    from_name: str | None
    from_problem: str | None
    reply_to: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    delivered_to: tuple[str, ...]
    return_path: str | None
    subject: str
    date: datetime | None
    message_id: str | None
    in_reply_to: str | None
    references: tuple[str, ...]
    body: str
    reply: str
    quoted: str
    signature: str
    html_text: str | None
    has_html: bool
    attachments: tuple[ParsedAttachment, ...]
    automatic: tuple[str, ...]
    is_auto: bool
    is_bounce: bool
    is_dsn: bool
    is_list: bool
    is_feedback_report: bool
    is_mdn: bool
    must_not_autoreply: bool
    x_loop: tuple[str, ...]
    authentication_results: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]
    report: ParsedReport | None = None
    authentication: Authentication | None = None
    forward: Forward | None = None
    also_in_reply_to: tuple[str, ...] = ()


class FormField(Struct, frozen=True):
    """One answer of a form. ``text`` is what a person reads; ``parts`` the subfields (``first``, ``city`` …), if any."""

    key: str
    text: str
    field_type: str | None
    parts: dict[str, str]


class ParsedForm(Struct, frozen=True, tag="form"):
    """One Formstack submission, handshake key removed, fields in the order they came."""

    form_id: str
    submission_id: str
    fields: tuple[FormField, ...]
    notes: tuple[str, ...]


class WorkbookRow(Struct, frozen=True):
    """One data row. ``number`` counts as in the spreadsheet (1-based), ``cells`` are its texts as shown.

    ``fields`` holds the recognised columns by their canonical name (see :mod:`ingest.parsers.workbook.parse`);
    ``extra`` the unrecognised ones by header. ``identity`` is the message id, or a hash of the cells with the
    occurrence number.
    """

    sheet: str
    number: int
    identity: str
    cells: tuple[str, ...]
    fields: dict[str, str]
    extra: dict[str, str]


class ParsedSheet(Struct, frozen=True):
    """A visible sheet: where its header was found (1-based) and the header texts as they stand."""

    name: str
    header_row: int
    headers: tuple[str, ...]
    columns: dict[str, int]


class ParsedWorkbook(Struct, frozen=True, tag="workbook"):
    """A secure-message workbook, values only. ``hidden_sheets`` were left alone; ``sheets_without_header`` had none."""

    sheets: tuple[ParsedSheet, ...]
    rows: tuple[WorkbookRow, ...]
    hidden_sheets: tuple[str, ...]
    sheets_without_header: tuple[str, ...]
    notes: tuple[str, ...]


class ParseOptions(Struct, frozen=True):
    """What a parser may need to know; everything has a safe default.

    ``html_text``: also make the text of the HTML part when there is a text part (slow, ``explain`` wants it).
    ``authserv_id``: the name under which the mailbox's own server writes Authentication-Results.
    ``attached``: the mail came within another one, so that no original is looked for in its own attachments.
    ``column_aliases``: canonical column → further header names. ``passwords`` open encrypted workbooks.
    """

    html_text: bool = False
    authserv_id: str = ""
    attached: bool = False
    column_aliases: dict[str, tuple[str, ...]] = {}
    passwords: tuple[str, ...] = ()
    content_type: str | None = None


Parsed = ParsedMail | ParsedForm | ParsedWorkbook | Refusal
