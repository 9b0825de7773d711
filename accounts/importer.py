"""Import staff, companies and contacts from CSV files, line by line, with a report of the refused lines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from accounts.csv_reader import REQUIRED_FIELD, CsvLine, CsvTable, escape_cell, read_csv
from accounts.directory import Saved, SaveOutcome, retry_on_conflict, save_company, save_contact, save_staff
from accounts.field_parsers import RefusedValueError, read_domains, read_flag
from accounts.names import fold_name
from accounts.record_cache import RecordCache
from core.database.session import Database, is_unavailable
from core.errors import RefusedError

BATCH_LINES = 500

#: Raises RefusedError when a member of staff, by id, cannot be made inactive.
DeactivationCheck = Callable[[Session, int], None]
_SAVE: dict[str, Callable[..., Saved[Any]]] = {"staff": save_staff, "company": save_company, "contact": save_contact}


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was refused: its number in the file, the field at fault, and why."""

    line: int
    field: str
    code: str
    text: str
    hint: str
    cells: tuple[str, ...]

    @property
    def reason(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "field": self.field, "code": self.code, "reason": self.reason}


@dataclass(slots=True)
class ImportReport:
    """The result of an import; every line is counted once. ``ignored`` are columns that name no known field."""

    path: Path
    kind: str
    header: tuple[str, ...]
    encoding: str
    ignored: tuple[str, ...]
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: list[RefusedLine] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path), "kind": self.kind, "created": self.created, "updated": self.updated,
            "unchanged": self.unchanged, "refused": [line.as_dict() for line in self.refused],
            "encoding": self.encoding, "ignored_columns": list(self.ignored),
        }  # fmt: skip

    def count(self, outcome: SaveOutcome | RefusedLine) -> None:
        if isinstance(outcome, RefusedLine):
            self.refused.append(outcome)
        else:
            setattr(self, outcome.value, getattr(self, outcome.value) + 1)


def import_file(
    database: Database,
    kind: str,
    path: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    check_deactivation: DeactivationCheck = lambda session, staff_id: None,
) -> ImportReport:
    """Import a list of ``kind`` (staff, company, contact); ``progress(done, total)`` is called after each batch of lines.

    ``check_deactivation`` raises for a member of staff with open work, whom a list cannot make inactive.

    Each line is created, updated, unchanged, or refused with its reason, without effect on other lines. Raises
    :class:`RefusedError` when the file as a whole is not such a list, :class:`OSError` when it cannot be read.
    """
    sheet = read_csv(kind, path)
    report = ImportReport(path, kind, sheet.header, sheet.encoding, sheet.ignored)
    lines, later = _defer_stand_ins(sheet) if kind == "staff" else (list(sheet.lines), [])
    total = len(lines) + len(later)
    outcomes: dict[int, SaveOutcome | RefusedLine] = {}
    for done, batch in _batches(lines):
        outcomes.update(_save_batch(database, kind, batch, check_deactivation))
        progress(done, total)
    for done, batch in _batches([line for line in later if not isinstance(outcomes[line.number], RefusedLine)]):
        for number, outcome in _save_batch(database, kind, batch, check_deactivation).items():
            outcomes[number] = _combine(outcomes[number], outcome)
        progress(len(lines) + done, total)
    progress(total, total)
    for number in sorted(outcomes):
        report.count(outcomes[number])
    return report


def write_refused(report: ImportReport) -> Path | None:
    """Write the refused lines beside the list as ``<file>.refused.csv`` with a Reason column; None when there are none.

    Cells that a spreadsheet would take for a formula are escaped; a corrected file can be imported as it is.
    """
    if not report.refused:
        return None
    columns = [index for index, name in enumerate(report.header) if name.strip().casefold() != "reason"]
    target = report.path.with_name(f"{report.path.name}.refused.csv")
    unfinished = target.with_name(f"{target.name}.part")
    with unfinished.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(escape_cell(report.header[index]) for index in columns), "Reason"])
        for line in report.refused:
            cells = [line.cells[index] if index < len(line.cells) else "" for index in columns]
            extra = line.cells[len(report.header) :]
            writer.writerow([escape_cell(cell) for cell in (*cells, f"line {line.line}: {line.reason}", *extra)])
    unfinished.replace(target)
    return target


def _batches(lines: list[CsvLine]) -> Iterator[tuple[int, list[CsvLine]]]:
    """Batches of lines, each with the number of lines up to its end."""
    for start in range(0, len(lines), BATCH_LINES):
        batch = lines[start : start + BATCH_LINES]
        yield start + len(batch), batch


def _defer_stand_ins(sheet: CsvTable) -> tuple[list[CsvLine], list[CsvLine]]:
    """Split off the stand-ins: two people of one list may stand in for each other, so they are set when all lines are saved."""
    listed = {line.values.get("email", "").strip().lower() for line in sheet.lines} - {""}
    now, later = [], []
    for line in sheet.lines:
        email, stand_in = (line.values.get(name, "").strip().lower() for name in ("email", "stand_in"))
        if stand_in in listed and stand_in != email:
            later.append(line._replace(values={"email": email, "stand_in": stand_in}))
            line = line._replace(values={key: value for key, value in line.values.items() if key != "stand_in"})
        now.append(line)
    return now, later


def _combine(earlier: SaveOutcome | RefusedLine, later: SaveOutcome | RefusedLine) -> SaveOutcome | RefusedLine:
    """The outcome of a line that was saved in two steps."""
    if isinstance(later, RefusedLine):
        return replace(later, text=f"saved, but without the stand-in: {later.text}")
    return later if earlier is SaveOutcome.UNCHANGED else earlier


def _save_batch(
    database: Database, kind: str, batch: Sequence[CsvLine], check_deactivation: DeactivationCheck
) -> dict[int, SaveOutcome | RefusedLine]:
    """Save all lines of a batch in one transaction; when the database refuses it, each line in its own."""
    try:
        return retry_on_conflict(database, lambda session: _save_lines(session, kind, batch, check_deactivation))
    except DBAPIError as error:
        if is_unavailable(error):
            raise
    return {line.number: _save_alone(database, kind, line, check_deactivation) for line in batch}


def _save_alone(database: Database, kind: str, line: CsvLine, check_deactivation: DeactivationCheck) -> SaveOutcome | RefusedLine:
    try:
        return retry_on_conflict(database, lambda session: _save_lines(session, kind, [line], check_deactivation))[line.number]
    except DBAPIError as error:
        if is_unavailable(error):
            raise
        refusal = RefusedError("refused_by_database", "the database refused this line", hint="look for unusual characters in it")
        return _refuse(line, refusal)


def _save_lines(
    session: Session, kind: str, batch: Sequence[CsvLine], check_deactivation: DeactivationCheck
) -> dict[int, SaveOutcome | RefusedLine]:
    records = RecordCache(session)
    _prefetch(records, kind, batch)
    outcomes = {line.number: _save_line(records, kind, line, check_deactivation) for line in batch}
    records.flush()
    return outcomes


def _check_deactivation(records: RecordCache, line: CsvLine, check_deactivation: DeactivationCheck) -> None:
    person = records.staff.get(line.values.get("email", "").strip().lower())
    active = line.values.get("active", "")
    if person is not None and person.active and active.strip() and not read_flag("active", active):
        check_deactivation(records.session, person.id)


def _save_line(
    records: RecordCache, kind: str, line: CsvLine, check_deactivation: DeactivationCheck
) -> SaveOutcome | RefusedLine:
    needed = REQUIRED_FIELD[kind]
    try:
        if line.problem:
            raise RefusedError("unreadable_line", line.problem, hint="correct the line")
        if not line.values.get(needed, "").strip():
            raise RefusedValueError(needed, f"missing_{needed}", f"the line has no {needed}", hint="fill it in")
        if kind == "staff":
            _check_deactivation(records, line, check_deactivation)
        return _SAVE[kind](records, **line.values).outcome
    except RefusedError as refusal:
        return _refuse(line, refusal)


def _refuse(line: CsvLine, refusal: RefusedError) -> RefusedLine:
    where = refusal.field if isinstance(refusal, RefusedValueError) else ""
    return RefusedLine(line.number, where, refusal.code, refusal.text, refusal.hint, line.cells)


def _prefetch(records: RecordCache, kind: str, batch: Sequence[CsvLine]) -> None:
    """Load all records that the lines of a batch refer to, in a few queries."""

    def gather(*fields: str) -> list[str]:
        return sorted({value.strip().lower() for line in batch for name in fields if (value := line.values.get(name))})

    if kind == "staff":
        records.staff.fetch(gather("email", "stand_in"))
    elif kind == "contact":
        records.contacts.fetch(gather("email"))
        records.companies.fetch(sorted({fold_name(line.values.get("company", "")) for line in batch} - {""}))
    else:
        folded = sorted({fold_name(line.values.get("name", "")) for line in batch} - {""})
        records.staff.fetch(gather("manager", "consultant"))
        records.companies.fetch(folded)
        records.fetch_domains(folded)
        records.accounts.fetch(sorted({line.values.get("account_number", "").strip() for line in batch} - {""}))
        records.domain_owners.fetch(sorted({domain for line in batch for domain in _domains(line)}))


def _domains(line: CsvLine) -> frozenset[str]:
    try:
        return read_domains("domains", line.values.get("domains", ""))
    except RefusedValueError:
        return frozenset()
