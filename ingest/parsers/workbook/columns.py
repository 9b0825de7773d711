"""Identify columns by their header names and aliases, and handle the three columns that a receipt adds.

There is no fixed vendor layout, so the header identifies a column. Names are compared by their letters and digits alone:
"E-Mail Address", "email_address" and "EmailAddress" are the same name, and "#" reads "number".
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

# The most specific name first: of two matching columns the one with the earlier name is used.
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
    """The header of a sheet and what its columns hold.

    ``number`` is its 1-based row number. ``texts`` excludes the columns of a receipt. ``columns`` maps a canonical name to a
    0-based index into ``texts``. ``receipt_at`` is the index of the receipt's first column in the sheet, or None.
    """

    number: int
    texts: tuple[str, ...]
    columns: dict[str, int]
    receipt_at: int | None


def make_key(name: str) -> str:
    """Return the letters and digits of a header name in lower case: names are compared by this key."""
    return _SEPARATORS.sub("", name.replace("#", " number ").casefold())


def index_aliases(further: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, str]]:
    """Map the key of each name to (rank, canonical column); a lower rank wins.

    Configured names in ``further`` rank before the built-in ones and replace them.
    """
    index: dict[str, tuple[int, str]] = {}
    for canonical, names in ALIASES.items():
        for rank, name in enumerate((canonical, *names), start=1):
            index.setdefault(make_key(name), (rank, canonical))
    for canonical, configured in further.items():
        if canonical in ALIASES:
            index.update((make_key(name), (0, canonical)) for name in configured)
    return index


def read_header(number: int, texts: Sequence[str], index: Mapping[str, tuple[int, str]]) -> HeaderRow | None:
    """Return the row as a header when it names at least two known columns, message or subject among them, else None."""
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
    """Return where Outcome, Ticket and Reason stand side by side: the last such place, where a receipt appends them."""
    for at in range(len(texts) - len(RECEIPT_COLUMNS), -1, -1):
        if tuple(texts[at : at + len(RECEIPT_COLUMNS)]) == RECEIPT_COLUMNS:
            return at
    return None


def strip_receipt(texts: Sequence[str], receipt_at: int | None) -> tuple[str, ...]:
    """Return a row as in the file dropped first: without the columns and escapes of a receipt, and without empty ends."""
    cells = list(texts)
    if receipt_at is not None:
        del cells[receipt_at : receipt_at + len(RECEIPT_COLUMNS)]
        cells = [unescape_formula(text) for text in cells]
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def name_extras(header: HeaderRow, width: int) -> list[tuple[int, str]]:
    """Return index and name of each column without a canonical name. A repeated name gets its column letter."""
    known = set(header.columns.values())
    names: dict[str, int] = {}
    for at in range(width):
        if at not in known:
            text = header.texts[at] if at < len(header.texts) else ""
            letter = get_column_letter(at + 1)
            name = f"{text} ({letter})" if text in names else text or f"Column {letter}"
            names[name] = at
    return [(at, name) for name, at in names.items()]
