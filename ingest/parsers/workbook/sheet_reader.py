"""Read the rows of a workbook's sheets as texts (docs/decisions/workbook-reader.md).

Rows hold values only and are read in one pass, regardless of the size that the file declares. openpyxl reads the package:
manifest, list of sheets, styles, dates. Its read-only worksheet is not used: it scans a sheet without a dimension record
twice, fills every row up to its farthest cell (16,384 cells for one stray cell), builds rows that are not in the file, and
cannot tell a formula that was never calculated from an empty cell. This module reads only the cells in the file and ignores
the dimension record.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple
from xml.etree.ElementTree import Element

import openpyxl
from defusedxml.ElementTree import iterparse
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.numbers import BUILTIN_FORMATS, BUILTIN_FORMATS_MAX_SIZE
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils import column_index_from_string
from openpyxl.utils.datetime import from_excel, from_ISO8601
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS

from ingest.parsers.workbook.cells import clean_cell, show_value

# Not an assert: it must also hold under ``python -O``.
if not openpyxl.DEFUSEDXML:
    raise ImportError("openpyxl runs without defusedxml and would expand entities; unset OPENPYXL_DEFUSEDXML")

MAX_ROW_NUMBER = 1_048_576

_CELL, _ROW, _DATA, _VALUE, _FORMULA, _INLINE, _ITEM, _RUN, _TEXT = (
    f"{{{SHEET_MAIN_NS}}}{name}" for name in ("c", "row", "sheetData", "v", "f", "is", "si", "r", "t")
)
_LETTERS = re.compile(r"[A-Z]{1,3}(?=\d)", re.IGNORECASE)
_PADDED = re.compile(r"0{2,}")


class SheetRow(NamedTuple):
    """A row that is not blank.

    ``number`` is 1-based, ``texts`` has no empty end, ``is_wide`` is True when a cell is beyond the column limit.
    """

    number: int
    texts: list[str]
    is_wide: bool


class WorkbookSheet(NamedTuple):
    """A worksheet as the workbook lists it. ``part`` is its path in the package."""

    name: str
    is_hidden: bool
    part: str


@dataclass
class WorkbookPackage:
    """An opened workbook. ``uncalculated`` and ``unreadable`` count cells while the sheets are read."""

    reader: ExcelReader
    sheets: list[WorkbookSheet]
    strings: list[str]
    padding: dict[int, int]
    has_styles: bool
    columns: dict[str, int] = field(default_factory=dict)
    uncalculated: int = 0
    unreadable: int = 0

    def iterate_rows(self, sheet: WorkbookSheet, max_columns: int) -> Iterator[SheetRow]:
        """Yield the rows of a sheet that are not blank, in order.

        Cells beyond ``max_columns`` are dropped and mark the row as wide. Raises ValueError when the row numbers do not
        increase.
        """
        last = 0
        with self.reader.archive.open(sheet.part) as stream:
            for element in _iterate_elements(stream, _ROW):
                number = int(element.get("r") or last + 1)
                if not last < number <= MAX_ROW_NUMBER:
                    raise ValueError("row number out of order")
                last = number
                row = self._read_row(number, element, max_columns)
                if row.texts or row.is_wide:
                    yield row

    def _read_row(self, number: int, element: Element, max_columns: int) -> SheetRow:
        texts: list[str] = []
        column, is_wide = 0, False
        for cell in element:
            column = self._find_column(cell, column)
            text = self._read_cell(cell) if len(cell) else ""
            if not text:
                continue
            if column > max_columns:
                is_wide = True
                continue
            if column > len(texts):
                texts.extend([""] * (column - len(texts)))
            texts[column - 1] = text
        return SheetRow(number, texts, is_wide)

    def _find_column(self, cell: Element, previous: int) -> int:
        reference = cell.get("r")
        if not reference:
            return previous + 1
        letters = _LETTERS.match(reference)
        if letters is None:
            raise ValueError("cell reference")
        column = self.columns.get(letters[0])
        if column is None:
            column = self.columns[letters[0]] = column_index_from_string(letters[0])
        return column

    def _read_cell(self, cell: Element) -> str:
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            inline = cell.find(_INLINE)
            return clean_cell(_join_runs(inline)) if inline is not None else ""
        value = cell.findtext(_VALUE)
        if not value:
            if cell.find(_FORMULA) is not None and (value is None or kind == "n"):
                self.uncalculated += 1
            return ""
        try:
            return self._show_cell(kind, value, int(cell.get("s") or 0))
        except (ValueError, IndexError, OverflowError):
            self.unreadable += 1
            return clean_cell(value)

    def _show_cell(self, kind: str, value: str, style: int) -> str:
        if kind == "s":
            return self.strings[int(value)]
        if kind == "n":
            return self._show_number(float(value) if set(value) & set(".eE") else int(value), style)
        if kind == "b":
            return show_value(bool(int(value)))
        if kind == "d":
            return show_value(from_ISO8601(value))
        return clean_cell(value)

    def _show_number(self, number: int | float, style: int) -> str:
        workbook = self.reader.wb
        if style in workbook._date_formats:
            is_duration = style in workbook._timedelta_formats
            return show_value(from_excel(number, workbook.epoch, timedelta=is_duration))
        if style in self.padding and number >= 0:
            return show_value(number).zfill(self.padding[style])
        return show_value(number)


def open_package(data: bytes) -> WorkbookPackage:
    """Open the workbook of a checked container. Raises the exceptions of openpyxl for a damaged one."""
    reader = ExcelReader(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    reader.read_manifest()
    reader.read_workbook()
    has_styles = _apply_styles(reader)
    sheets = [
        WorkbookSheet(sheet.name, sheet.state != "visible", relation.target)
        for sheet, relation in reader.parser.find_sheets()
        if relation.Type.endswith("/worksheet") and relation.target in reader.valid_files
    ]
    return WorkbookPackage(reader, _make_names_unique(sheets), _read_strings(reader), _find_padding(reader), has_styles)


def _apply_styles(reader: ExcelReader) -> bool:
    """Return whether openpyxl accepts the styles. Exports of other programs often fail here; their texts remain useful."""
    try:
        apply_stylesheet(reader.archive, reader.wb)
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        return False
    return True


def _make_names_unique(sheets: list[WorkbookSheet]) -> list[WorkbookSheet]:
    """Return the sheets with unique names: rows are identified by sheet and number."""
    named: dict[str, WorkbookSheet] = {}
    for sheet in sheets:
        name, count = sheet.name, 1
        while name in named:
            count += 1
            name = f"{sheet.name} ({count})"
        named[name] = sheet._replace(name=name)
    return list(named.values())


def _read_strings(reader: ExcelReader) -> list[str]:
    listed = reader.package.find(SHARED_STRINGS)
    if listed is None or listed.PartName[1:] not in reader.valid_files:
        return []
    with reader.archive.open(listed.PartName[1:]) as stream:
        return [clean_cell(_join_runs(element)) for element in _iterate_elements(stream, _ITEM)]


def _iterate_elements(stream: IO[bytes], tag: str) -> Iterator[Element]:
    """Yield the elements named ``tag`` as they end and clear each one afterwards. Parsing stops after the cells."""
    for _, element in iterparse(stream, forbid_dtd=True):
        if element.tag == tag:
            yield element
            element.clear()
        elif element.tag == _DATA:
            return


def _join_runs(element: Element) -> str:
    """Return the text of a string item with its formatted runs joined. Phonetic hints (``rPh``) are not text."""
    if len(element) == 1 and element[0].tag == _TEXT:
        return element[0].text or ""
    pieces = [child if child.tag == _TEXT else child.find(_TEXT) for child in element if child.tag in (_TEXT, _RUN)]
    return "".join(piece.text or "" for piece in pieces if piece is not None)


def _find_padding(reader: ExcelReader) -> dict[int, int]:
    """Map styles to digits for number formats of zeros only: an account number displayed as 00042 is 00042."""
    found = {}
    for style, cell_style in enumerate(reader.wb._cell_styles):
        number_format = cell_style.numFmtId
        if number_format < BUILTIN_FORMATS_MAX_SIZE:
            code = BUILTIN_FORMATS.get(number_format, "")
        else:
            code = reader.wb._number_formats[number_format - BUILTIN_FORMATS_MAX_SIZE]
        if _PADDED.fullmatch(code):
            found[style] = len(code)
    return found
