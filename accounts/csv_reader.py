"""Read CSV lists exported from other programs: any delimiter, any usual encoding, headers as people write them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core.errors import RefusedError

MAX_BYTES = 50 * 1024 * 1024
DELIMITERS = (",", ";", "\t", "|")
#: First characters that make a cell a formula to a spreadsheet (security.md, rule 6).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")

_NAME = ("name", "full name", "display name")
_FIRST = ("first name", "first", "given name", "firstname")
_LAST = ("last name", "last", "surname", "family name", "lastname")
_EMAIL = ("email", "e mail", "mail", "email address", "e mail address", "address", "user", "user email", "login")
_ACTIVE = ("active", "is active", "enabled", "status")
_COMPANY = ("company", "company name", "practice", "practice name", "clinic", "organization", "organisation")

#: Kind of list → field → its known headers, folded.
ALIASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "staff": {
        "email": _EMAIL, "name": _NAME, "first_name": _FIRST, "last_name": _LAST, "active": _ACTIVE,
        "role": ("role", "job", "position"),
        "capacity": ("capacity", "max tickets", "maximum tickets", "ticket limit"),
        "skills": ("skills", "skill"),
        "zone": ("zone", "time zone", "timezone", "tz"),
        "weekdays": ("weekdays", "days", "working days", "work days"),
        "hours": ("hours", "working hours", "office hours", "work hours"),
        "stand_in": ("stand in", "standin", "substitute", "deputy", "backup", "cover"),
    },
    "company": {
        "name": (*_COMPANY, *_NAME, "customer", "customer name", "account name"),
        "active": _ACTIVE,
        "domains": ("domains", "domain", "email domain", "email domains", "website"),
        "manager": ("manager", "manager email", "account manager"),
        "consultant": ("consultant", "consultant email", "operations consultant", "ops consultant", "owner"),
        "telemedicine": ("telemedicine", "telehealth"),
        "account_number": ("account number", "account no", "account", "account id", "customer number"),
    },
    "contact": {
        "email": _EMAIL, "name": (*_NAME, "contact", "contact name"), "first_name": _FIRST, "last_name": _LAST,
        "phone": ("phone", "phone number", "telephone", "tel", "mobile", "contact phone"),
        "preferred_contact": ("preferred contact", "preferred contact method", "contact method", "preferred method"),
        "company": (*_COMPANY, "account name", "customer"),
        "is_admin": ("admin", "is admin", "administrator", "account administrator", "portal administrator"),
        "active": _ACTIVE,
    },
}  # fmt: skip
REQUIRED_FIELD = {"staff": "email", "company": "name", "contact": "email"}


class CsvLine(NamedTuple):
    """One record: the physical line it begins on, its cells unchanged, and their values by field."""

    number: int
    cells: tuple[str, ...]
    values: dict[str, str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A list as read. ``ignored`` are headers that name no known field."""

    header: tuple[str, ...]
    lines: tuple[CsvLine, ...]
    encoding: str
    delimiter: str
    ignored: tuple[str, ...]


def read_csv(kind: str, path: Path) -> CsvTable:
    """Read a CSV list of ``kind`` (staff, company, contact). Raises :class:`RefusedError` for a file that is not such a list."""
    text, encoding = _decode(_read_bytes(path))
    delimiter, text = _find_delimiter(kind, text)
    records = _read_records(text, delimiter)
    _, header, _ = next(records, (0, (), ""))
    columns = _match_header(kind, header)
    _refuse_incomplete(kind, columns)
    lines = tuple(
        _make_line(number, cells, problem or _find_overflow(header, cells), columns) for number, cells, problem in records
    )
    ignored = tuple(name for index, name in enumerate(header) if index not in columns and name and fold_header(name) != "reason")
    return CsvTable(header, lines, encoding, delimiter, ignored)


def fold_header(header: str) -> str:
    """Return a header for comparison: ``E-Mail_Address*`` and ``e mail address`` are equal."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header)
    return " ".join(re.sub(r"[\W_]+", " ", spaced).casefold().split())


def escape_cell(cell: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def unescape_cell(cell: str) -> str:
    """Undo :func:`escape_cell`, so that a corrected list of refused lines is read with its original values."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def _read_bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise RefusedError("large_file", f"{path.name} is over {MAX_BYTES // 1024**2} MB", hint="split it into several files")
    data = path.read_bytes()
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise RefusedError("workbook", f"{path.name} is a workbook, not a CSV list", hint="save it as CSV and import that")
    if not data.strip():
        raise RefusedError("empty_file", f"{path.name} is empty", hint="give a list with a header line")
    return data


def _decode(data: bytes) -> tuple[str, str]:
    """UTF-8 with or without a byte order mark, UTF-16 with one, else windows-1252, which Excel writes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), "utf-16"
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("windows-1252", "replace"), "windows-1252"


def _find_delimiter(kind: str, text: str) -> tuple[str, str]:
    """The delimiter that yields the most known headers; Excel may name it in a first line ``sep=;``.

    That line is emptied, not removed, so that line numbers stay those that an editor shows.
    """
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r'"?sep=(.)"?\r?', first, re.I):
        return match.group(1), "\n" + rest

    def score(delimiter: str) -> tuple[int, int]:
        _, header, _ = next(_read_records(text, delimiter), (0, (), ""))
        return len(_match_header(kind, header)), len(header)

    return max(DELIMITERS, key=score), text


def _read_records(text: str, delimiter: str) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """(line, cells, problem) of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        number = reader.line_num + 1
        try:
            cells = tuple(next(reader))
        except StopIteration:
            return
        except csv.Error:
            yield number, (), "a cell is too long; is a closing quote missing?"
            continue
        if any(cell.strip() for cell in cells):
            yield number, cells, ""


def _match_header(kind: str, header: Sequence[str]) -> dict[int, str]:
    """Column → field; the first column of a field counts."""
    fields = {alias: field for field, aliases in ALIASES[kind].items() for alias in (*aliases, field.replace("_", " "))}
    columns: dict[int, str] = {}
    for index, name in enumerate(header):
        field = fields.get(fold_header(name))
        if field and field not in columns.values():
            columns[index] = field
    return columns


def _refuse_incomplete(kind: str, columns: Mapping[int, str]) -> None:
    needed = REQUIRED_FIELD[kind]
    if needed not in columns.values():
        known = ", ".join(ALIASES[kind])
        raise RefusedError(
            "missing_column", f"the list has no column {needed!r}",
            hint=f"the first line names the columns; known are {known}",
        )  # fmt: skip


def _find_overflow(header: Sequence[str], cells: Sequence[str]) -> str:
    """Find a delimiter inside an unquoted cell: it shifts all cells after it, so the line is refused."""
    return "more cells than columns; is a quote missing?" if any(cell.strip() for cell in cells[len(header) :]) else ""


def _make_line(number: int, cells: tuple[str, ...], problem: str, columns: Mapping[int, str]) -> CsvLine:
    values = {field: unescape_cell(cells[index]) for index, field in columns.items() if index < len(cells)}
    names = [values.pop("first_name", ""), values.pop("last_name", "")]
    if not values.get("name", "").strip() and any(names):
        values["name"] = " ".join(name.strip() for name in names).strip()
    return CsvLine(number, cells, values, problem)
