"""The receipt of a secure-message workbook: the rows as they came plus Outcome, Ticket and Reason.

It is written beside the file and can be corrected and dropped again: the parser knows its three columns and its
summary sheet and gives every untouched row the identity it had (formstack.md, "Secure-message workbooks").
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

MAX_TITLE = 31
Page = Any  # a write-only worksheet: openpyxl has no types
_NO_TITLE = re.compile(r"[\\*?:/\[\]\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_COLUMN_WIDTH = 18
_REASON_WIDTH = 60


class RowOutcome(Struct, frozen=True):
    """What became of a row: ``disposition`` (ticket, appended, duplicate, rejected …), ticket number, reason."""

    disposition: str
    ticket: str | None = None
    reason: str | None = None


PENDING = RowOutcome("pending")


def write_receipt(workbook: ParsedWorkbook, outcomes: Mapping[tuple[str, int], RowOutcome]) -> bytes:
    """A new .xlsx; ``outcomes`` by sheet name and row number, a row without one is shown as pending.

    Every cell but the counts is a text, and one that a spreadsheet could take for a formula has an apostrophe
    before it (security.md, rule 6).
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
    """Header first, rows below without the gaps the file had; the receipt's columns right of the widest row."""
    width = max([len(sheet.headers), *(len(row.cells) for row in rows)])
    page = book.create_sheet(title)
    page.freeze_panes = "A2"
    for column in range(1, width + len(RECEIPT_COLUMNS) + 1):
        page.column_dimensions[get_column_letter(column)].width = _COLUMN_WIDTH
    page.column_dimensions[get_column_letter(width + len(RECEIPT_COLUMNS))].width = _REASON_WIDTH
    page.append(_make_bold(page, [*_fill(sheet.headers, width), *RECEIPT_COLUMNS]))
    for row in rows:
        outcome = outcomes.get((row.sheet, row.number), PENDING)
        told = (outcome.disposition, outcome.ticket or "", outcome.reason or "")
        page.append([_make_safe(text) or None for text in (*_fill(row.cells, width), *told)])


def _write_summary(book: Workbook, title: str, workbook: ParsedWorkbook, outcomes: Mapping[tuple[str, int], RowOutcome]) -> None:
    page = book.create_sheet(title)
    page.column_dimensions["A"].width = _REASON_WIDTH
    counts = Counter(outcomes.get((row.sheet, row.number), PENDING).disposition for row in workbook.rows)
    page.append(_make_bold(page, [RECEIPT_TITLE]))
    page.append(["Rows", len(workbook.rows)])
    for disposition, count in sorted(counts.items()):
        page.append([_make_safe(disposition), count])
    _write_list(page, "Hidden sheets, left alone", workbook.hidden_sheets)
    _write_list(page, "Sheets without a header row, left alone", workbook.sheets_without_header)
    _write_list(page, "Notes", workbook.notes)


def _write_list(page: Page, heading: str, texts: Iterable[str]) -> None:
    lines = [_make_safe(text) for text in texts]
    if lines:
        page.append([])
        page.append(_make_bold(page, [heading]))
        for line in lines:
            page.append([line])


def _make_bold(page: Page, texts: Iterable[str]) -> list[WriteOnlyCell]:
    cells = [WriteOnlyCell(page, value=_make_safe(text)) for text in texts]
    for cell in cells:
        cell.font = Font(bold=True)
    return cells


def _make_safe(text: str) -> str:
    return escape_controls(escape_formula(text))


def _fill(texts: Sequence[str], width: int) -> list[str]:
    return [*texts, *[""] * (width - len(texts))]


def _choose_titles(names: Iterable[str]) -> list[str]:
    """Titles Excel takes: 31 characters, none of ``\\*?:/[]``, told apart without regard to case."""
    titles: list[str] = []
    taken: set[str] = set()
    for name in names:
        base = _NO_TITLE.sub("_", name).strip("' ") or "Sheet"
        title, count = base[:MAX_TITLE], 1
        while title.casefold() in taken:
            count += 1
            ending = f" ({count})"
            title = base[: MAX_TITLE - len(ending)] + ending
        taken.add(title.casefold())
        titles.append(title)
    return titles
