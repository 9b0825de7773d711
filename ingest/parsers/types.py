"""The values that parsers return. They are frozen and cross the process boundary as MessagePack.

A parser takes bytes and options and returns one of these values. It never raises on bad input: it returns a :class:`Refusal`,
or records in ``notes`` what it had to work around. It never reads the database, the network or a setting. The names of the
attributes are the keys of the MessagePack maps.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Refusal(Struct, frozen=True, tag="refusal"):
    """An input that the parser does not accept.

    ``code`` is a snake_case noun for programs, ``text`` a sentence for people.
    """

    code: str
    text: str


class ParsedAttachment(Struct, frozen=True):
    """One file of a message.

    ``size`` is in bytes. ``type`` is the declared media type, ``sniffed`` the one that the bytes show.
    """

    name: str
    type: str
    sniffed: str | None
    size: int
    sha256: str
    inline: bool
    content_id: str | None
    content: bytes


class ParsedReport(Struct, frozen=True):
    """What a mail system reports about a mail that was sent.

    ``kind`` is ``bounce`` (not delivered), ``delay``, ``delivery`` (delivered), ``complaint``, ``feedback`` (any other
    feedback report) or ``receipt``. ``status`` holds enhanced status codes (RFC 3463). ``action`` holds the action words of
    RFC 3464, the feedback type or the disposition of the receipt. ``message_id`` identifies the reported mail.
    """

    kind: str
    recipients: tuple[str, ...]
    status: tuple[str, ...]
    action: tuple[str, ...]
    permanent: bool
    message_id: str | None


class Authentication(Struct, frozen=True):
    """Whether our own mail server authenticated the sender.

    ``method`` is the method that decided (``dmarc``, ``dkim`` or ``spf``), ``text`` the result as a sentence.
    """

    passed: bool
    method: str
    text: str


class Forward(Struct, frozen=True):
    """The original of a forwarded mail.

    ``kind`` is ``inline`` or ``attached``. ``date`` is the text found in the body for ``inline``, ISO 8601 for ``attached``.
    ``message`` is what the forwarder wrote, ``body`` the forwarded text. ``files`` holds the files of an attached original.
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
    """One decoded message. Addresses are lower-cased plain ``local@domain``; missing values are None or empty.

    ``from_addr`` is set only when From holds exactly one plain mailbox (security.md, rule 3). Otherwise ``from_problem``
    holds the reason code. ``body`` is the whole text a person reads, quotes included. ``reply``, ``quoted`` and ``signature``
    are its parts (:mod:`ingest.parsers.reply.split`); a part that is absent is "". ``automatic`` holds the reason codes of
    :mod:`ingest.parsers.mail.automatic`. ``fingerprint`` is a SHA-256 over From, Date, Subject, body and attachments. It
    covers no trace header, so two deliveries of one mail have the same fingerprint. ``report`` is set for reports of mail
    systems. ``authentication`` is set when the options name an ``authserv_id``. In-Reply-To may name several mails (RFC 5322
    §3.6.4); ``also_in_reply_to`` holds all but the first.
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
    """One answer of a form.

    ``text`` is the readable answer; ``parts`` holds the subfields (``first``, ``city``, …), if any.
    """

    key: str
    text: str
    field_type: str | None
    parts: dict[str, str]


class ParsedForm(Struct, frozen=True, tag="form"):
    """One Formstack submission without its handshake key. The fields keep their order."""

    form_id: str
    submission_id: str
    fields: tuple[FormField, ...]
    notes: tuple[str, ...]


class WorkbookRow(Struct, frozen=True):
    """One data row. ``number`` is the 1-based row number of the spreadsheet; ``cells`` holds the displayed texts.

    ``fields`` holds the recognised columns by canonical name (see :mod:`ingest.parsers.workbook.parse`), ``extra`` the
    unrecognised columns by header. ``identity`` is the message id, or a hash of the cells with the occurrence number.
    """

    sheet: str
    number: int
    identity: str
    cells: tuple[str, ...]
    fields: dict[str, str]
    extra: dict[str, str]


class ParsedSheet(Struct, frozen=True):
    """A visible sheet. ``header_row`` is the 1-based row number of the header, ``headers`` its texts as written.

    ``columns`` maps a canonical name to the 0-based index of its column.
    """

    name: str
    header_row: int
    headers: tuple[str, ...]
    columns: dict[str, int]


class ParsedWorkbook(Struct, frozen=True, tag="workbook"):
    """A secure-message workbook, values only. Sheets in ``hidden_sheets`` and ``sheets_without_header`` were not read."""

    sheets: tuple[ParsedSheet, ...]
    rows: tuple[WorkbookRow, ...]
    hidden_sheets: tuple[str, ...]
    sheets_without_header: tuple[str, ...]
    notes: tuple[str, ...]


class ParseOptions(Struct, frozen=True):
    """Options of the parsers. Every option has a safe default.

    - ``html_text``: also render the HTML part as text when the mail has a text part (slow; ``explain`` uses it).
    - ``authserv_id``: the name under which the mailbox's own server writes Authentication-Results.
    - ``attached``: the mail was attached to another mail, so its own attachments are not searched for an original.
    - ``column_aliases``: canonical column → further header names.
    - ``passwords``: open encrypted workbooks.
    - ``content_type``: the declared type of a form body; None means that the parser detects it.
    """

    html_text: bool = False
    authserv_id: str = ""
    attached: bool = False
    column_aliases: dict[str, tuple[str, ...]] = {}
    passwords: tuple[str, ...] = ()
    content_type: str | None = None


Parsed = ParsedMail | ParsedForm | ParsedWorkbook | Refusal
