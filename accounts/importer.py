"""Lists of staff, companies and contacts brought in from CSV files: each line for itself, and a report of what was refused."""

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
    """A line that was not taken: the line in the file, the field at fault, and why."""

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
    """What became of a list; every line is counted once. ``ignored`` are columns that mean nothing here."""

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

    ``may_leave`` raises for a member of staff who has work in hand: a list makes nobody inactive who has.

    A line is created, updated, unchanged, or refused with its reason and without effect on others. Raises
    :class:`RefusedError` when the file as a whole is no such list, :class:`OSError` when it cannot be read.
    """
    sheet = read_csv(kind, path)
    report = ImportReport(path, kind, sheet.header, sheet.encoding, sheet.ignored)
    lines, later = _defer_stand_ins(sheet) if kind == "staff" else (list(sheet.lines), [])
    total = len(lines) + len(later)
    outcomes: dict[int, SaveOutcome | RefusedLine] = {}
    for done, batch in _cut(lines):
        outcomes.update(_save_batch(database, kind, batch, check_deactivation))
        progress(done, total)
    for done, batch in _cut([line for line in later if not isinstance(outcomes[line.number], RefusedLine)]):
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
    keep = [index for index, name in enumerate(report.header) if name.strip().casefold() != "reason"]
    target = report.path.with_name(f"{report.path.name}.refused.csv")
    unfinished = target.with_name(f"{target.name}.part")
    with unfinished.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(escape_cell(report.header[index]) for index in keep), "Reason"])
        for line in report.refused:
            cells = [line.cells[index] if index < len(line.cells) else "" for index in keep]
            extra = line.cells[len(report.header) :]
            writer.writerow([escape_cell(cell) for cell in (*cells, f"line {line.line}: {line.reason}", *extra)])
    unfinished.replace(target)
    return target


def _cut(lines: list[CsvLine]) -> Iterator[tuple[int, list[CsvLine]]]:
    """Batches of lines, each with the number of lines up to its end."""
    for start in range(0, len(lines), BATCH_LINES):
        batch = lines[start : start + BATCH_LINES]
        yield start + len(batch), batch


def _defer_stand_ins(sheet: CsvTable) -> tuple[list[CsvLine], list[CsvLine]]:
    """Two people of one list may stand in for each other: who stands in is set when everybody is there."""
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
    database: Database, kind: str, batch: Sequence[CsvLine], may_leave: DeactivationCheck
) -> dict[int, SaveOutcome | RefusedLine]:
    """All lines of a batch in one transaction; when the database refuses it, each line in its own."""
    try:
        return retry_on_conflict(database, lambda session: _save_lines(session, kind, batch, may_leave))
    except DBAPIError as error:
        if is_unavailable(error):
            raise
    return {line.number: _save_alone(database, kind, line, may_leave) for line in batch}


def _save_alone(database: Database, kind: str, line: CsvLine, may_leave: DeactivationCheck) -> SaveOutcome | RefusedLine:
    try:
        return retry_on_conflict(database, lambda session: _save_lines(session, kind, [line], may_leave))[line.number]
    except DBAPIError as error:
        if is_unavailable(error):
            raise
        refusal = RefusedError("refused_by_database", "the database does not take this line", hint="look at its characters")
        return _refuse(line, refusal)


def _save_lines(
    session: Session, kind: str, batch: Sequence[CsvLine], may_leave: DeactivationCheck
) -> dict[int, SaveOutcome | RefusedLine]:
    register = RecordCache(session)
    _prefetch(register, kind, batch)
    outcomes = {line.number: _save_line(register, kind, line, may_leave) for line in batch}
    register.flush()
    return outcomes


def _check_leaving(register: RecordCache, line: CsvLine, may_leave: DeactivationCheck) -> None:
    person = register.staff.get(line.values.get("email", "").strip().lower())
    active = line.values.get("active", "")
    if person is not None and person.active and active.strip() and not read_flag("active", active):
        may_leave(register.session, person.id)


def _save_line(register: RecordCache, kind: str, line: CsvLine, may_leave: DeactivationCheck) -> SaveOutcome | RefusedLine:
    needed = REQUIRED_FIELD[kind]
    try:
        if line.problem:
            raise RefusedError("unreadable_line", line.problem, hint="correct the line")
        if not line.values.get(needed, "").strip():
            raise RefusedValueError(needed, f"missing_{needed}", f"the line has no {needed}", hint="fill it in")
        if kind == "staff":
            _check_leaving(register, line, may_leave)
        return _SAVE[kind](register, **line.values).outcome
    except RefusedError as refusal:
        return _refuse(line, refusal)


def _refuse(line: CsvLine, refusal: RefusedError) -> RefusedLine:
    where = refusal.field if isinstance(refusal, RefusedValueError) else ""
    return RefusedLine(line.number, where, refusal.code, refusal.text, refusal.hint, line.cells)


def _prefetch(register: RecordCache, kind: str, batch: Sequence[CsvLine]) -> None:
    """Everything the lines of a batch may ask for, in a few queries."""

    def gather(*fields: str) -> list[str]:
        return sorted({value.strip().lower() for line in batch for name in fields if (value := line.values.get(name))})

    if kind == "staff":
        register.staff.fetch(gather("email", "stand_in"))
    elif kind == "contact":
        register.contacts.fetch(gather("email"))
        register.companies.fetch(sorted({fold_name(line.values.get("company", "")) for line in batch} - {""}))
    else:
        folded = sorted({fold_name(line.values.get("name", "")) for line in batch} - {""})
        register.staff.fetch(gather("manager", "consultant"))
        register.companies.fetch(folded)
        register.fetch_domains(folded)
        register.accounts.fetch(sorted({line.values.get("account_number", "").strip() for line in batch} - {""}))
        register.domain_owners.fetch(sorted({domain for line in batch for domain in _domains(line)}))


def _domains(line: CsvLine) -> frozenset[str]:
    try:
        return read_domains("domains", line.values.get("domains", ""))
    except RefusedValueError:
        return frozenset()
