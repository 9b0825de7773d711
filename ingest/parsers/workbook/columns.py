"""Which column holds what: header names with their aliases, and the three columns a receipt adds.

There is no fixed vendor layout, so a column is known by its header. Names are compared by their letters and digits
alone: "E-Mail Address", "email_address" and "EmailAddress" are one name, "#" reads "number".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openpyxl.utils import get_column_letter

from ingest.parsers.workbook.cells import unescape_formula

RECEIPT_COLUMNS = ("Outcome", "Ticket", "Reason")
#: First cell of a receipt's summary sheet; such a sheet is never read as data.
RECEIPT_TITLE = "Receipt of a secure-message workbook"
RECEIPT_SHEET = "Receipt"
MAX_HEADER_LENGTH = 80

# The most telling name first: of two matching columns the one whose name stands earlier here is taken.
ALIASES: dict[str, tuple[str, ...]] = {
    "message_id": (
        "message id",
        "secure message id",
        "message number",
        "message no",
        "message identifier",
        "msg id",
        "msg number",
        "msg no",
        "message guid",
        "guid",
        "id",
    ),
    "thread_id": (
        "thread id",
        "conversation id",
        "thread number",
        "conversation number",
        "thread",
        "conversation",
    ),
    "sent_at": (
        "sent at",
        "sent date",
        "date sent",
        "sent on",
        "sent",
        "sent date time",
        "sent time",
        "message date",
        "message date time",
        "date time sent",
        "date time",
        "timestamp",
        "received at",
        "received date",
        "date received",
        "received on",
        "received",
        "created at",
        "created on",
        "date created",
        "created date",
        "created",
        "submitted at",
        "submitted on",
        "date submitted",
        "date",
    ),
    "company": (
        "practice",
        "practice name",
        "company",
        "company name",
        "practice company",
        "account name",
        "clinic",
        "clinic name",
        "organization",
        "organization name",
        "organisation",
        "client",
        "client name",
        "customer",
        "customer name",
        "facility",
        "facility name",
        "provider group",
        "group name",
        "provider",
    ),
    "account_number": (
        "account number",
        "account no",
        "account num",
        "account id",
        "account",
        "account code",
        "acct number",
        "acct no",
        "acct id",
        "acct",
        "practice id",
        "practice number",
        "practice code",
        "client id",
        "client number",
        "customer id",
        "customer number",
        "customer no",
        "company id",
    ),
    "sender_name": (
        "sender name",
        "sender",
        "from name",
        "sent by",
        "from",
        "author",
        "contact name",
        "contact",
        "contact person",
        "requester",
        "requester name",
        "submitted by",
        "created by",
        "user name",
        "user",
        "full name",
        "name",
    ),
    "sender_email": (
        "sender email",
        "sender email address",
        "sender e mail",
        "from email",
        "from email address",
        "from address",
        "contact email",
        "requester email",
        "user email",
        "reply to",
        "email",
        "email address",
        "e mail id",
        "mail",
    ),
    "phone": (
        "phone",
        "phone number",
        "telephone",
        "telephone number",
        "sender phone",
        "contact phone",
        "contact number",
        "callback number",
        "callback",
        "call back number",
        "mobile",
        "mobile number",
        "cell",
        "cell phone",
        "tel",
    ),
    "subject": (
        "subject",
        "subject line",
        "message subject",
        "title",
        "topic",
        "regarding",
        "re",
        "summary",
    ),
    "message": (
        "message",
        "message text",
        "message body",
        "body",
        "message content",
        "message contents",
        "text",
        "content",
        "contents",
        "secure message",
        "details",
        "description",
        "inquiry",
        "question",
        "comments",
        "comment",
        "notes",
        "note",
    ),
    "category": (
        "category",
        "message category",
        "message type",
        "type",
        "type of request",
        "request type",
        "issue type",
        "reason for contact",
        "reason",
        "queue",
    ),
    "reference": (
        "reference",
        "reference number",
        "reference no",
        "reference id",
        "patient claim reference",
        "patient claim",
        "patient or claim",
        "claim reference",
        "patient reference",
        "claim number",
        "claim no",
        "claim id",
        "claim",
        "patient id",
        "patient number",
        "patient name",
        "patient",
        "mrn",
        "encounter",
        "ref",
        "ref no",
        "ref number",
    ),
    "attachment_names": (
        "attachment names",
        "attachment name",
        "attachments",
        "attachment",
        "attached files",
        "attached file",
        "file names",
        "file name",
        "files",
        "file",
        "documents",
    ),
}
CANONICAL_COLUMNS = tuple(ALIASES)

_SEPARATORS = re.compile(r"[\W_]+")


class HeaderRow(NamedTuple):
    """Where the header stands and what its columns hold.

    ``texts`` without the receipt's columns, ``columns`` canonical name → 0-based index into them,
    ``receipt_at`` the index of the receipt's first column in the sheet, or None.
    """

    number: int
    texts: tuple[str, ...]
    columns: dict[str, int]
    receipt_at: int | None


def make_key(name: str) -> str:
    """A header's letters and digits, lower-cased: what names are compared by."""
    return _SEPARATORS.sub("", name.replace("#", " number ").casefold())


def index_aliases(further: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, str]]:
    """Name key → (rank, canonical column), lower ranks better; configured names before and over the built-in ones."""
    index: dict[str, tuple[int, str]] = {}
    for canonical, names in ALIASES.items():
        for rank, name in enumerate((canonical, *names), start=1):
            index.setdefault(make_key(name), (rank, canonical))
    for canonical, configured in further.items():
        if canonical in ALIASES:
            index.update((make_key(name), (0, canonical)) for name in configured)
    return index


def read_header(number: int, texts: Sequence[str], index: Mapping[str, tuple[int, str]]) -> HeaderRow | None:
    """The row as a header: it names at least two known columns, the message or the subject among them."""
    receipt_at = find_receipt_columns(texts)
    names = strip_receipt(texts, receipt_at)
    best: dict[str, tuple[int, int]] = {}
    for at, text in enumerate(names):
        known = index.get(make_key(text)) if 0 < len(text) <= MAX_HEADER_LENGTH else None
        if known and (known[1] not in best or known[0] < best[known[1]][0]):
            best[known[1]] = (known[0], at)
    if len(best) < 2 or not best.keys() & {"message", "subject"}:
        return None
    return HeaderRow(number, names, {name: best[name][1] for name in ALIASES if name in best}, receipt_at)


def find_receipt_columns(texts: Sequence[str]) -> int | None:
    """Where Outcome, Ticket and Reason stand side by side; the last such place, as a receipt appends them."""
    for at in range(len(texts) - len(RECEIPT_COLUMNS), -1, -1):
        if tuple(texts[at : at + len(RECEIPT_COLUMNS)]) == RECEIPT_COLUMNS:
            return at
    return None


def strip_receipt(texts: Sequence[str], receipt_at: int | None) -> tuple[str, ...]:
    """A row as it stood in the file first dropped: without the receipt's columns, its escapes and empty ends."""
    cells = list(texts)
    if receipt_at is not None:
        del cells[receipt_at : receipt_at + len(RECEIPT_COLUMNS)]
        cells = [unescape_formula(text) for text in cells]
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def name_extras(header: HeaderRow, width: int) -> list[tuple[int, str]]:
    """Index and name of each column no canonical name was found for; a name that comes again gets its letter."""
    known = set(header.columns.values())
    names: dict[str, int] = {}
    for at in range(width):
        if at not in known:
            text = header.texts[at] if at < len(header.texts) else ""
            letter = get_column_letter(at + 1)
            name = f"{text} ({letter})" if text in names else text or f"Column {letter}"
            names[name] = at
    return [(at, name) for name, at in names.items()]
