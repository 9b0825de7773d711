"""Parse secure-message workbooks: one message per row, columns identified by their headers (formstack.md).

The bytes pass :mod:`ingest.parsers.workbook.guard` first. ``ParsedSheet.columns`` holds 0-based indices into ``headers`` and
into the ``cells`` of each row. ``WorkbookRow.fields`` holds the canonical columns (:data:`CANONICAL_COLUMNS`) that are not
empty; dates are ISO texts, or texts typed by a person, which :func:`read_sent_at` reads.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from ingest.parsers.types import ParsedSheet, ParsedWorkbook, ParseOptions, Refusal, WorkbookRow
from ingest.parsers.workbook.columns import (
    CANONICAL_COLUMNS,
    RECEIPT_COLUMNS,
    RECEIPT_SHEET,
    RECEIPT_TITLE,
    HeaderRow,
    index_aliases,
    name_extras,
    read_header,
    strip_receipt,
)
from ingest.parsers.workbook.guard import open_container
from ingest.parsers.workbook.row_checks import find_row_problem, read_sent_at
from ingest.parsers.workbook.sheet_reader import SheetRow, WorkbookPackage, WorkbookSheet, open_package

__all__ = ["CANONICAL_COLUMNS", "find_row_problem", "parse_workbook", "read_sent_at"]

MAX_ROWS = 10_000
MAX_COLUMNS = 200
MAX_HEADER_ROW = 20
#: Characters of a cell that count for the identity of its row. A cell of a receipt holds 32,767, with an apostrophe.
IDENTITY_LENGTH = 32_000
#: A longer "message id" is not an id: the column was misidentified, and an index could not hold it.
MAX_MESSAGE_ID_LENGTH = 200


@dataclass
class _ReadState:
    """What was found so far in all sheets of one file."""

    package: WorkbookPackage
    aliases: Mapping[str, tuple[int, str]]
    sheets: list[ParsedSheet] = field(default_factory=list)
    rows: list[WorkbookRow] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    headerless: list[str] = field(default_factory=list)
    occurrences: Counter[str] = field(default_factory=Counter)
    repeated_headers: int = 0
    has_receipt: bool = False


def parse_workbook(data: bytes, options: ParseOptions) -> ParsedWorkbook | Refusal:
    """Return every row of every visible sheet with a header, as texts, with an identity that is stable in a longer export.

    Refusals: those of :func:`ingest.parsers.workbook.guard.open_container`, ``workbook_damaged``, ``too_many_rows`` (over
    MAX_ROWS in the file), ``too_many_columns`` (over MAX_COLUMNS), ``no_header``. Never raises except MemoryError.
    """
    opened = open_container(data, options.passwords)
    if isinstance(opened, Refusal):
        return opened
    try:
        with warnings.catch_warnings():
            # openpyxl warns about decoration that it drops, which does not matter here.
            warnings.simplefilter("ignore")
            return _read_package(open_package(opened), options)
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        # openpyxl raises KeyError, TypeError and others for parts that contradict each other.
        return Refusal("workbook_damaged", "The workbook is damaged: its sheets cannot be read.")


def _read_package(package: WorkbookPackage, options: ParseOptions) -> ParsedWorkbook | Refusal:
    state = _ReadState(package, index_aliases(options.column_aliases))
    for sheet in package.sheets:
        if sheet.is_hidden:
            state.hidden.append(sheet.name)
        elif problem := _read_sheet(state, sheet):
            return problem
    if not state.sheets:
        return _refuse_headerless(state)
    return ParsedWorkbook(
        sheets=tuple(state.sheets),
        rows=tuple(state.rows),
        hidden_sheets=tuple(state.hidden),
        sheets_without_header=tuple(state.headerless),
        notes=tuple(_list_notes(state)),
    )


def _read_sheet(state: _ReadState, sheet: WorkbookSheet) -> Refusal | None:
    rows = state.package.iterate_rows(sheet, MAX_COLUMNS + len(RECEIPT_COLUMNS))
    head: list[SheetRow] = []
    for row in rows:
        head.append(row)
        if row.number >= MAX_HEADER_ROW:
            break
    if _is_receipt(sheet, head):
        return None
    header = _choose_header(head, state.aliases)
    if header is None:
        state.headerless.append(sheet.name)
        return None
    state.sheets.append(ParsedSheet(sheet.name, header.number, header.texts, header.columns))
    state.has_receipt |= header.receipt_at is not None
    return _collect_rows(state, sheet.name, header, chain(head, rows))


def _is_receipt(sheet: WorkbookSheet, head: list[SheetRow]) -> bool:
    return sheet.name.startswith(RECEIPT_SHEET) and bool(head) and head[0].texts[:1] == [RECEIPT_TITLE]


def _choose_header(head: list[SheetRow], aliases: Mapping[str, tuple[int, str]]) -> HeaderRow | None:
    """Return the row among the first MAX_HEADER_ROW that names the most columns; of equals the first."""
    found = [header for row in head if row.number <= MAX_HEADER_ROW and (header := read_header(row.number, row.texts, aliases))]
    return max(found, key=lambda header: len(header.columns), default=None)


def _collect_rows(state: _ReadState, name: str, header: HeaderRow, rows: Iterator[SheetRow]) -> Refusal | None:
    """Add the rows below the header. The rows above it are titles and count only for the width."""
    fields = list(header.columns.items())
    extras = name_extras(header, MAX_COLUMNS)
    for row in rows:
        cells = strip_receipt(row.texts, header.receipt_at)
        if row.is_wide or len(cells) > MAX_COLUMNS:
            return Refusal("too_many_columns", f"A sheet has more than {MAX_COLUMNS} columns.")
        if row.number <= header.number or not cells:
            continue
        if cells == header.texts:
            state.repeated_headers += 1
            continue
        if len(state.rows) == MAX_ROWS:
            return Refusal("too_many_rows", f"The workbook has more than {MAX_ROWS:,} rows; split it into several.")
        state.rows.append(_make_row(state, name, row.number, cells, fields, extras))
    return None


def _make_row(
    state: _ReadState,
    name: str,
    number: int,
    cells: tuple[str, ...],
    fields: list[tuple[str, int]],
    extras: list[tuple[int, str]],
) -> WorkbookRow:
    width = len(cells)
    known = {column: cells[at] for column, at in fields if at < width and cells[at]}
    extra = {label: cells[at] for at, label in extras if at < width and cells[at]}
    message_id = known.get("message_id", "")
    has_id = 0 < len(message_id) <= MAX_MESSAGE_ID_LENGTH
    identity = message_id if has_id else _make_hash_identity(state.occurrences, cells)
    return WorkbookRow(sheet=name, number=number, identity=identity, cells=cells, fields=known, extra=extra)


def _make_hash_identity(occurrences: Counter[str], cells: tuple[str, ...]) -> str:
    """Return ``hash:`` + SHA-256 of the texts + ``:`` + the occurrence number among equal rows of this file, from 1."""
    packed = msgspec.json.encode([cell[:IDENTITY_LENGTH] for cell in cells])
    digest = hashlib.sha256(packed).hexdigest()
    occurrences[digest] += 1
    return f"hash:{digest}:{occurrences[digest]}"


def _list_notes(state: _ReadState) -> list[str]:
    package = state.package
    templates = (
        (package.uncalculated, "{} cells hold a formula that was never calculated and are read as empty."),
        (package.unreadable, "{} cells could not be read as their kind and stand as they are in the file."),
        (state.repeated_headers, "{} rows repeat the header and were left out."),
        (state.has_receipt, "The columns Outcome, Ticket and Reason of an earlier receipt were left out."),
        (not package.has_styles, "The formats could not be read: dates may stand as numbers."),
    )
    return [text.format(count) for count, text in templates if count]


def _refuse_headerless(state: _ReadState) -> Refusal:
    hidden = f" {len(state.hidden)} hidden sheets were left alone." if state.hidden else ""
    return Refusal(
        "no_header",
        f"No sheet has a header row within its first {MAX_HEADER_ROW} rows: at least two known column names, "
        f"Message or Subject among them.{hidden}",
    )
