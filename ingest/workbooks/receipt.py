"""The receipt of a secure-message workbook: its rows with the columns Outcome, Ticket and Reason added.

It is written beside the file. A person may correct it and drop it again: the parser knows the three columns and the summary
sheet, and gives every unchanged row the identity it had (formstack.md, "Secure-message workbooks").
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from ingest.parsers.types import ParsedSheet, ParsedWorkbook, WorkbookRow
from ingest.parsers.workbook.cells import escape_controls, escape_formula
from ingest.parsers.workbook.columns import RECEIPT_COLUMNS, RECEIPT_SHEET, RECEIPT_TITLE

MAX_TITLE_CHARS = 31
#: A write-only worksheet; openpyxl has no types.
Worksheet = Any
_FORBIDDEN_IN_TITLE = re.compile(r"[\\*?:/\[\]\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_COLUMN_WIDTH = 18
_REASON_WIDTH = 60


class RowOutcome(Struct, frozen=True):
    """The outcome of a row: its disposition (ticket, appended, duplicate, rejected …), ticket number and reason."""

    disposition: str
    ticket: str | None = None
    reason: str | None = None


PENDING = RowOutcome("pending")


def write_receipt(workbook: ParsedWorkbook, outcomes: Mapping[tuple[str, int], RowOutcome]) -> bytes:
    """Return the receipt as .xlsx; ``outcomes`` is by sheet name and row number, a row without one is shown as pending.

    Every cell except the counts is text, and one that a spreadsheet could read as a formula gets an apostrophe before it
    (security.md, rule 6).
    """
    book = Workbook(write_only=True)
    titles = _choose_titles([*(sheet.name for sheet in workbook.sheets), RECEIPT_SHEET])
    rows: dict[str, list[WorkbookRow]] = {sheet.name: [] for sheet in workbook.sheets}
    for row in workbook.rows:
        rows[row.sheet].append(row)
    for sheet, title in zip(workbook.sheets, titles[:-1], strict=True):
        _write_sheet(book, title, sheet, rows[sheet.name], outcomes)
    _write_summary(book, titles[-1], workbook, outcomes)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _write_sheet(
    book: Workbook,
    title: str,
    sheet: ParsedSheet,
    rows: Sequence[WorkbookRow],
    outcomes: Mapping[tuple[str, int], RowOutcome],
) -> None:
    """Write the header, then the rows without the gaps of the file; the receipt's columns are right of the widest row."""
    width = max([len(sheet.headers), *(len(row.cells) for row in rows)])
    page = book.create_sheet(title)
    page.freeze_panes = "A2"
    for column in range(1, width + len(RECEIPT_COLUMNS) + 1):
        page.column_dimensions[get_column_letter(column)].width = _COLUMN_WIDTH
    page.column_dimensions[get_column_letter(width + len(RECEIPT_COLUMNS))].width = _REASON_WIDTH
    page.append(_make_bold(page, [*_pad(sheet.headers, width), *RECEIPT_COLUMNS]))
    for row in rows:
        outcome = outcomes.get((row.sheet, row.number), PENDING)
        result = (outcome.disposition, outcome.ticket or "", outcome.reason or "")
        page.append([_make_safe(text) or None for text in (*_pad(row.cells, width), *result)])


def _write_summary(book: Workbook, title: str, workbook: ParsedWorkbook, outcomes: Mapping[tuple[str, int], RowOutcome]) -> None:
    page = book.create_sheet(title)
    page.column_dimensions["A"].width = _REASON_WIDTH
    counts = Counter(outcomes.get((row.sheet, row.number), PENDING).disposition for row in workbook.rows)
    page.append(_make_bold(page, [RECEIPT_TITLE]))
    page.append(["Rows", len(workbook.rows)])
    for disposition, count in sorted(counts.items()):
        page.append([_make_safe(disposition), count])
    _write_list(page, "Hidden sheets, not read", workbook.hidden_sheets)
    _write_list(page, "Sheets without a header row, not read", workbook.sheets_without_header)
    _write_list(page, "Notes", workbook.notes)


def _write_list(page: Worksheet, heading: str, texts: Iterable[str]) -> None:
    lines = [_make_safe(text) for text in texts]
    if lines:
        page.append([])
        page.append(_make_bold(page, [heading]))
        for line in lines:
            page.append([line])


def _make_bold(page: Worksheet, texts: Iterable[str]) -> list[WriteOnlyCell]:
    cells = [WriteOnlyCell(page, value=_make_safe(text)) for text in texts]
    for cell in cells:
        cell.font = Font(bold=True)
    return cells


def _make_safe(text: str) -> str:
    return escape_controls(escape_formula(text))


def _pad(texts: Sequence[str], width: int) -> list[str]:
    return [*texts, *[""] * (width - len(texts))]


def _choose_titles(names: Iterable[str]) -> list[str]:
    """Return titles Excel accepts: 31 characters, none of ``\\*?:/[]``, unique without regard to case."""
    titles: list[str] = []
    taken: set[str] = set()
    for name in names:
        base = _FORBIDDEN_IN_TITLE.sub("_", name).strip("' ") or "Sheet"
        title, count = base[:MAX_TITLE_CHARS], 1
        while title.casefold() in taken:
            count += 1
            ending = f" ({count})"
            title = base[: MAX_TITLE_CHARS - len(ending)] + ending
        taken.add(title.casefold())
        titles.append(title)
    return titles
